import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, observe, record } from '../../../backend/decide/history.ts';
import { recallSpells, spellsOf } from '../../../backend/decide/memory.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { parseActiveTasks, stopAsked } from '../../../daemon/hypervisor/proxmox/tasks.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const minute = 60_000;
const cluster = homeCluster();
const policy = Policy.parse({
  restart: { guests: [{ guests: ['web'] }], unexplained: 'start', attempts: 3 },
});

const node = (name: string, atMs: number, guest: Partial<GuestSample> | null): NodeRecord => ({
  ...unseenNode('home', name),
  online: true,
  sampleAtMs: atMs,
  values: nodeValues({ memoryUsedBytes: 0, memoryTotalBytes: 2 ** 36 }),
  guests: guest ? [guestSample('web', guest)] : [],
});

type Look = { atMs: number; guest: Partial<GuestSample> | null };

/** What the engine would do about it in the end. */
function planAfter(looks: readonly Look[], waitMs = 5 * minute) {
  const history = emptyHistory();
  for (const { atMs, guest } of looks) {
    observe(history, { cluster, nodes: [node('n1', atMs, guest)] }, policy, atMs);
  }
  const last = looks.at(-1);
  const nowMs = (last?.atMs ?? 0) + waitMs;
  const state = { cluster, nodes: [node('n1', nowMs, last?.guest ?? null)] };
  observe(history, state, policy, nowMs);
  return { history, state, nowMs, plan: decide(state, policy, history, nowMs) };
}
const ran = { atMs: 0, guest: { state: 'running' } as const };
const stopped = { atMs: 10_000, guest: { state: 'stopped' } as const };

describe('a guest that stopped', () => {
  it('is started again when it was seen running right before', () => {
    expect(planAfter([ran, stopped]).plan.intents).toMatchObject([
      { executor: 'n1', target: { id: 'web' }, action: { kind: 'guest.start' } },
    ]);
  });

  it.each<[string, Look[]]>([
    ['was never seen running', [stopped]],
    ['stopped while nobody looked', [ran, { ...stopped, atMs: 2 * minute }]],
    ['is locked', [ran, { atMs: 10_000, guest: { state: 'stopped', lock: 'backup' } }]],
    ['is managed by HA', [ran, { atMs: 10_000, guest: { state: 'stopped', haState: 'started' } }]],
    ['is gone', [ran, { atMs: 10_000, guest: null }]],
    ['runs again', [ran, stopped, { ...ran, atMs: 20_000 }]],
  ])('is let be when it %s', (_, looks) => {
    expect(planAfter(looks).plan.intents).toEqual([]);
  });

  it('is let be when it runs on another node', () => {
    const history = emptyHistory();
    const look = (atMs: number, onFirst: 'running' | 'stopped', onSecond: boolean) => {
      const second = onSecond ? ({ state: 'running' } as const) : null;
      const nodes = [node('n1', atMs, { state: onFirst }), node('n2', atMs, second)];
      observe(history, { cluster, nodes }, policy, atMs);
      return decide({ cluster, nodes }, policy, history, atMs).intents;
    };
    look(0, 'running', false);
    look(10_000, 'stopped', true);
    expect(look(5 * minute, 'stopped', true)).toEqual([]);
  });

  it('is let be when a command stopped it, and when a person did so after it died', () => {
    const { history, state, nowMs } = planAfter([ran, stopped]);
    for (const otherAtMs of [5_000, nowMs - 1_000]) {
      const ordered = { startsAtMs: [], isStarting: false, otherAtMs };
      history.deaths.ordered.set('home/web', ordered);
      observe(history, state, policy, nowMs);
      expect(decide(state, policy, history, nowMs).intents).toEqual([]);
    }
  });

  it('is still dead, and given up, for a server that starts anew', () => {
    const { history, state, nowMs } = planAfter([ran, stopped], 20 * minute);
    const startsAtMs = [minute, 5 * minute, 12 * minute];
    const ordered = { startsAtMs, isStarting: false, otherAtMs: null };
    history.deaths.ordered.set('home/web', ordered);
    const plan = decide(state, policy, history, nowMs);
    record(history, plan, nowMs);
    expect(plan.report.nonActions).toMatchObject([{ rule: 'restart.gave-up' }]);
    const spells = spellsOf(history, 'home', ['n1']).filter(({ subject }) => subject === 'web');
    expect(spells).toEqual([{ subject: 'web', kind: 'gave-up', sinceMs: 10_000 }]);
    const after = emptyHistory();
    recallSpells(after, 'home', spells);
    after.deaths.ordered.set('home/web', ordered);
    observe(after, state, policy, nowMs);
    expect(decide(state, policy, after, nowMs).intents).toEqual([]);
    expect(spellsOf(after, 'home', ['n1'])).toContainEqual(
      expect.objectContaining({ subject: 'web', sinceMs: 10_000 }),
    );
  });
});

describe('the list of tasks of a host', () => {
  const upid = (at: number, type: string, id: string) =>
    `UPID:pve1:0000A1B2:0012D687:${at.toString(16).toUpperCase().padStart(8, '0')}:${type}:${id}:root@pam:`;
  const line = (at: number, type: string, id: string) =>
    `${upid(at, type, id)} 1 ${(at + 5).toString(16).toUpperCase().padStart(8, '0')} OK`;
  const tasks = (...lines: string[]) => parseActiveTasks(lines.join('\n'));
  const base = 1_700_000_000;

  it('tells a stop that somebody asked for from one that nobody did', () => {
    const listed = tasks(
      line(base, 'qmstart', '101'),
      line(base + 100, 'qmshutdown', '101'),
      line(base + 200, 'vzstop', '102'),
      line(base + 300, 'vzstart', '102'),
    );
    expect(stopAsked(listed, '101')).toBe(true);
    expect(stopAsked(listed, '102')).toBe(false);
    expect(stopAsked(listed, '103')).toBe(false);
  });

  it('tells nothing where it cannot be read, or where so much happened that it forgot', () => {
    expect(stopAsked(null, '101')).toBeNull();
    const flood = Array.from({ length: 30 }, (_, at) =>
      line(base + at, 'vzdump', String(200 + at)),
    );
    expect(stopAsked(tasks(...flood), '101')).toBeNull();
  });
});
