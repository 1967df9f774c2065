import { describe, expect, it } from 'vitest';
import type { Offer } from '../../../broker/contract/command.ts';
import type { Waker } from '../../../daemon/waker/port.ts';
import { createRig, node, type Rig } from './rig.ts';

const minute = 60_000;
const asked: Partial<Offer> = {
  kind: 'node.wake',
  target: { kind: 'node', id: 's1' },
  args: { macs: ['02:00:00:00:00:01'], broadcasts: [] },
};
/** What the server gives a wake at least. */
const terms = { timeoutMs: 3 * minute };

function houseOf(isUnanswered: boolean) {
  const sentAtMs: number[] = [];
  const waker: Waker = {
    name: 'wol',
    isUnanswered,
    async wake() {
      sentAtMs.push(rig.clock.monotonicMs());
      return { packets: 6, detail: 'sent' };
    },
  };
  const rig: Rig = createRig({ deps: { wakers: [waker] } });
  return { rig, sentAtMs };
}

async function live({ clock, flush }: Rig, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5_000) {
    await clock.advance(5_000);
    await flush();
  }
}

const detailOf = (rig: Rig, commandId: string): string => {
  const last = rig.reports(commandId).at(-1);
  return last?.step === 'finished' ? last.detail : '';
};

describe('a wake that nobody answers', () => {
  it('is sent in three bursts, a minute apart, and no fourth', async () => {
    const { rig, sentAtMs } = houseOf(true);
    await rig.connect();
    const { commandId } = await rig.run(asked, terms);
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0, minute, 2 * minute]);
    expect(detailOf(rig, commandId)).toBe('wol: sent; 3 bursts');
    expect(rig.world.effects).toEqual([]);
  });

  it('ends when the server has seen the node awake', async () => {
    const { rig, sentAtMs } = houseOf(true);
    await rig.connect();
    const { commandId } = await rig.run(asked, terms);
    await live(rig, minute / 2);
    await rig.verdict(commandId, 9, 'RUNNING');
    expect(rig.steps(commandId)).not.toContain('finished');
    await rig.verdict(commandId, 9, 'SUCCEEDED');
    expect(detailOf(rig, commandId)).toContain('ended after 1 of 3 bursts');
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0]);
  });

  it('ends when the running cluster counts the node among its members', async () => {
    const { rig, sentAtMs } = houseOf(true);
    await rig.connect();
    let membersOnline = [node];
    const nothing = { node: {} as never, guests: [], versions: {} as never };
    rig.world.sample = async () => ({ ...nothing, membersOnline });
    const { commandId } = await rig.run(asked, terms);
    await live(rig, minute);
    membersOnline = [node, 's1'];
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0, minute]);
    expect(detailOf(rig, commandId)).toContain('a member of the running cluster');
  });

  it('ends under HOLD of this machine', async () => {
    const { rig, sentAtMs } = houseOf(true);
    await rig.connect();
    const { commandId } = await rig.run(asked, terms);
    rig.hold(true);
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0]);
    expect(detailOf(rig, commandId)).toContain('the HOLD file of this machine stands');
  });

  it('sends nothing again after a restart', async () => {
    const { rig, sentAtMs } = houseOf(true);
    await rig.connect();
    const { commandId } = await rig.run(asked, terms);
    await live(rig, minute);
    rig.crash();
    await rig.connect();
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0, minute]);
    expect(detailOf(rig, commandId)).toBe('the executor restarted');
  });

  it('ends within the time that the server gave it', async () => {
    const { rig, sentAtMs } = houseOf(true);
    await rig.connect();
    const { commandId } = await rig.run(asked, { timeoutMs: 90_000 });
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0, minute]);
    expect(rig.steps(commandId)).toContain('finished');
  });
});

describe('a wake that somebody answers', () => {
  it('is sent once', async () => {
    const { rig, sentAtMs } = houseOf(false);
    await rig.connect();
    const { commandId } = await rig.run(asked, terms);
    expect(detailOf(rig, commandId)).toBe('wol: sent');
    await live(rig, 10 * minute);
    expect(sentAtMs).toEqual([0]);
  });
});
