import { describe, expect, it } from 'vitest';
import { createMailbox } from '../../../backend/act/mailbox.ts';

const gate = () => {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
};
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('the mailbox', () => {
  it('works in order within a cluster and side by side across clusters', async () => {
    const mailbox = createMailbox({ perClusterMax: 10, totalMax: 10 });
    const seen: string[] = [];
    const door = gate();
    mailbox.push('a', async () => {
      await door.passed;
      seen.push('a1');
    });
    mailbox.push('a', async () => void seen.push('a2'));
    mailbox.push('b', async () => void seen.push('b1'));
    await settled();
    expect(seen).toEqual(['b1']);
    door.open();
    await settled();
    expect(seen).toEqual(['b1', 'a1', 'a2']);
    expect(mailbox.waiting()).toBe(0);
  });

  it('refuses what goes beyond its bounds and takes again when there is room', async () => {
    const mailbox = createMailbox({ perClusterMax: 1, totalMax: 3 });
    const door = gate();
    const work = () => door.passed;
    expect(mailbox.push('a', work)).toBe(true);
    expect(mailbox.push('a', work)).toBe(true);
    expect(mailbox.push('a', work)).toBe(false);
    door.open();
    await settled();
    expect(mailbox.push('a', work)).toBe(true);
  });

  it('finishes what runs and drops the rest when closed', async () => {
    const mailbox = createMailbox({ perClusterMax: 10, totalMax: 10 });
    const door = gate();
    const seen: string[] = [];
    mailbox.push('a', async () => {
      await door.passed;
      seen.push('running');
    });
    mailbox.push('a', async () => void seen.push('waiting'));
    const closed = mailbox.close();
    door.open();
    await closed;
    expect(seen).toEqual(['running']);
    expect(mailbox.push('a', () => door.passed)).toBe(false);
  });
});
