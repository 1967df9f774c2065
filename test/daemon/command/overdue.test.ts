import { describe, expect, it } from 'vitest';
import type { CommandKind, GrantContent } from '../../../broker/contract/command.ts';
import { perform } from '../../../daemon/command/work.ts';
import type { Hypervisor } from '../../../daemon/hypervisor/port.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const minute = 60_000;

/** A tool that puts things right for `cleanUpMs` once it is asked to end. */
async function outcomeOf(kind: CommandKind, args: object, cleanUpMs: number) {
  const clock = virtualClock();
  const driver: Pick<Hypervisor, 'perform' | 'observe'> = {
    perform: (_work, { signal }) =>
      new Promise((resolve) => {
        const end = () => resolve({ exitCode: 1, detail: 'put right', output: '' });
        signal.addEventListener('abort', () => clock.after(cleanUpMs, end));
      }),
    observe: async () => ({ postcondition: null, detail: 'nobody can tell' }),
  };
  const grant = {
    commandId: 'c1',
    kind,
    node: 'n1',
    target: { kind: 'guest', id: '100' },
    args,
    timeoutMs: 15 * minute,
    timeScale: 1,
  } as unknown as GrantContent;
  const never = new AbortController().signal;
  const deps = { hypervisor: driver as Hypervisor, wakers: [], clock, log: memoryLog() };
  const running = perform(deps, grant, {
    heldBy: async () => null,
    lastLook: async () => null,
    over: never,
    back: never,
    onHandle: async () => undefined,
    goodbye: async () => undefined,
    setOut: async () => undefined,
    hasOnlyParked: () => false,
    park: async () => null,
    unpark: async () => [],
  });
  for (let step = 0; step < 120; step += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(minute / 4);
  }
  return running;
}

describe('an effect that takes too long', () => {
  it('is given the time of Proxmox to put a migration right, and then tells how that went', async () => {
    const move = { targetNode: 'n2' };
    const inTime = await outcomeOf('guest.migrate', move, 175_000);
    expect(inTime).toMatchObject({ exitCode: 1, postcondition: null });
    expect(inTime.detail).toContain('put right');
    const never = await outcomeOf('guest.migrate', move, 60 * minute);
    expect(never).toMatchObject({ exitCode: null, postcondition: null });
    expect(never.detail).toContain('not ended after its time limit');
  });

  it('is left behind soon where nothing has to be put right', async () => {
    const start = await outcomeOf('guest.start', {}, minute);
    expect(start.detail).toContain('not ended after its time limit');
  });
});
