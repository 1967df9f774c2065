import { describe, expect, it } from 'vitest';
import type { Work } from '../../../../daemon/hypervisor/port.ts';
import { type Looking, observe } from '../../../../daemon/hypervisor/proxmox/observe.ts';
import type { Run } from '../../../../daemon/hypervisor/runs.ts';
import { virtualClock } from '../../../support/clock.ts';

const deed: Work = {
  commandId: 'c1',
  node: 'alpha',
  target: { kind: 'guest', id: '100' },
  action: { kind: 'guest.restart', args: {} },
  timeScale: 1,
};

/** A restart that began at 0 and a guest that is now as `status` says. */
async function holds(status: object, ended: Run['ended'] | undefined, nowMs: number) {
  const runs = new Map(ended === undefined ? [] : [['c1', { startedAtMs: 0, ended }]]);
  const looking: Looking = {
    placement: async () => new Map([['100', { node: 'alpha', type: 'qemu' }]]),
    get: async (schema) => schema.parse({ vmid: 100, ...status }),
    runs,
    clock: { ...virtualClock(), monotonicMs: () => nowMs },
  };
  return (await observe(looking, deed)).postcondition;
}

describe('the restart of a guest', () => {
  const [stopped, young] = [
    { status: 'stopped', uptime: 0 },
    { status: 'running', uptime: 3 },
  ];
  const old = { status: 'running', uptime: 900 };
  it.each([
    ['down, while its task may be at work', stopped, null, 900_000, null],
    ['down, and its task failed', stopped, { atMs: 1_000, isOk: false }, 1_000, false],
    [
      'down, as qm reboot leaves it for a moment',
      stopped,
      { atMs: 1_000, isOk: true },
      9_000,
      null,
    ],
    ['down long after its task was done', stopped, { atMs: 1_000, isOk: true }, 121_000, false],
    ['down, for who knows nothing of the command', stopped, undefined, 900_000, null],
    ['up since the restart', young, { atMs: 1_000, isOk: true }, 5_000, true],
    ['up since before it, when its task has ended', old, { atMs: 1_000, isOk: true }, 5_000, false],
    ['up since before it, while its task is at work', old, null, 5_000, null],
  ])('%s', async (_, status, ended, nowMs, expected) => {
    expect(await holds(status, ended, nowMs)).toBe(expected);
  });
});
