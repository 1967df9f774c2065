import { expect, it } from 'vitest';
import type { Denial } from '../../../daemon/command/guards.ts';
import { Effects } from '../../../daemon/command/effects.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

type Bench = ConstructorParameters<typeof Effects>[0];
type Ran = Parameters<Effects['run']>[0];

it('denies a command, and lives on, where the look before it fails', async () => {
  const log = memoryLog();
  const away = () => Promise.reject(new Error('the disk is away'));
  const posted: { type: string; denial?: Denial | null }[] = [];
  let wake: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => (wake = resolve));
  const bench = {
    deps: {
      hypervisor: { describe: away, sample: away, nodes: () => ['n1'] },
      readPolicy: away,
      isHeld: away,
      clock: virtualClock(),
      log,
      wakers: [],
      observeOnly: false,
    },
    hold: { isHeld: () => false },
    journal: { quarantined: away, hasReserve: away, state: { maxEpoch: 0 } },
    post: async (_node: string, _id: string, input: { type: string; denial?: Denial | null }) => {
      posted.push(input);
      wake();
    },
    say: () => undefined,
    goodbye: async () => undefined,
  } as unknown as Bench;
  const offer = { commandId: 'c1', kind: 'guest.stop', target: { kind: 'guest', id: '1' } };
  const command = { phase: 'received', node: 'n1', commandId: 'c1', offer } as unknown as Ran;
  new Effects(bench).run(command, { type: 'check' });
  await answered;
  expect(posted).toMatchObject([
    { type: 'checked', denial: { guard: { id: 'facts' }, code: 'KR_FACTS' } },
  ]);
});
