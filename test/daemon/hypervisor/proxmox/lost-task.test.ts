/** Which task of the host's list is the one that a daemon did not live to write down. */
import { describe, expect, it } from 'vitest';
import { findTask } from '../../../../daemon/hypervisor/proxmox/lost-task.ts';
import type { Upid } from '../../../../daemon/hypervisor/proxmox/tasks.ts';
import type { Work } from '../../../../daemon/hypervisor/port.ts';
import { heapClock } from '../../../protocol/heap-clock.ts';

const startedAtWallMs = 1_800_000_000_000;
const work = {
  action: { kind: 'guest.migrate', args: { targetNode: 'pve2' } },
  target: { kind: 'guest', id: '100' },
} as unknown as Work;

const taskAt = (upid: string, afterSeconds: number, change: Partial<Upid> = {}): Upid =>
  ({
    upid,
    type: 'qmigrate',
    id: '100',
    user: 'root@pam',
    startedAtSeconds: startedAtWallMs / 1_000 + afterSeconds,
    ...change,
  }) as Upid;

async function found(tasks: readonly Upid[], otherHandles: string[] = []): Promise<string | null> {
  const clock = heapClock(startedAtWallMs);
  const trace = { startedAtWallMs, otherHandles: new Set(otherHandles) };
  const signal = new AbortController().signal;
  const seeking = { clock, tasks: async () => tasks, skewMs: 2_000, user: 'root@pam' };
  const answer = findTask(seeking, work, { trace, signal });
  await clock.run(10_000);
  return answer;
}

describe('a task whose name was lost', () => {
  it('is the first that fits, however many came after it', async () => {
    expect(await found([taskAt('later', 20), taskAt('ours', 1)])).toBe('ours');
  });

  it('is none that began before, of another guest, kind or user, or that another command named', async () => {
    expect(
      await found(
        [
          taskAt('before', -10),
          taskAt('other guest', 1, { id: '101' }),
          taskAt('other kind', 1, { type: 'qmstart' }),
          taskAt('other user', 1, { user: 'anna@pve' }),
          taskAt('named', 1),
        ],
        ['named'],
      ),
    ).toBeNull();
  });

  it('is none that began minutes after ours was asked for', async () => {
    expect(await found([taskAt('of a person', 180)])).toBeNull();
  });
});
