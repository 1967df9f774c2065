import { assert, constantFrom, double, integer, property, record } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, type History, observe } from '../../../backend/decide/history.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import { noteRefusal } from '../../../backend/decide/refusals.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import type { CommandArgs } from '../../../broker/contract/command.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const gib = 2 ** 30;
const minute = 60_000;
const cluster = homeCluster();
const range = { cpu: { min: 1, max: 8, step: 2 }, memory: { min: gib, max: 16 * gib, step: gib } };
const policy = Policy.parse({ scale: { guests: [{ guests: ['web'], ...range }] } });

const nodeAt = (atMs: number, guest: Partial<GuestSample>): NodeRecord => ({
  ...unseenNode('home', 'n1'),
  online: true,
  sampleAtMs: atMs,
  values: nodeValues({
    cpuRatio: 0.2,
    cpuCount: 32,
    memoryUsedBytes: 8 * gib,
    memoryTotalBytes: 64 * gib,
  }),
  guests: [guestSample('web', { kind: 'container', ...guest })],
});

/** A guest that is the same for hours, looked at every minute. */
function watched(
  guest: Partial<GuestSample>,
  minutes: number,
): { history: History; nowMs: number } {
  const history = emptyHistory();
  for (let at = 0; at <= minutes; at += 1) {
    observe(history, { cluster, nodes: [nodeAt(at * minute, guest)] }, policy, at * minute);
  }
  return { history, nowMs: minutes * minute };
}

const planOf = (guest: Partial<GuestSample>, minutes: number) => {
  const { history, nowMs } = watched(guest, minutes);
  return decide({ cluster, nodes: [nodeAt(nowMs, guest)] }, policy, history, nowMs);
};

type Asked = Pick<GuestSample, 'cpuCount' | 'cpuRatio' | 'memoryTotalBytes' | 'memoryUsedBytes'>;

/** Every bound that a new size breaks. */
function broken(asked: Asked, args: CommandArgs<'guest.scale'>): string[] {
  const [count, total] = [asked.cpuCount ?? 0, asked.memoryTotalBytes ?? 0];
  const cores = args.cpuLimit ?? args.cpuCount ?? count;
  const memory = args.memoryBytes ?? total;
  const bounds = {
    'cores under what is used': cores < count * (asked.cpuRatio ?? 0),
    'cores out of the policy': cores !== count && (cores < 1 || cores > 8),
    'cores out of twice and half': cores > 2 * count || cores < count / 2,
    'memory under what is used': memory < (asked.memoryUsedBytes ?? 0),
    'memory out of the policy': memory !== total && (memory < gib || memory > 16 * gib),
    'memory out of twice and half': memory > 2 * total || memory < total / 2,
  };
  return Object.entries(bounds).flatMap(([name, is]) => (is ? [name] : []));
}

describe('scaling a guest', () => {
  it('keeps to the policy, to twice and half, and above what the guest uses', () => {
    const sizes = record({
      cpuCount: integer({ min: 1, max: 12 }),
      cpuRatio: double({ min: 0, max: 1, noNaN: true }),
      memoryTotalBytes: integer({ min: 1, max: 24 }).map((count) => count * gib),
      used: double({ min: 0, max: 1, noNaN: true }),
      kind: constantFrom('vm', 'container'),
    });
    let acted = 0;
    const keeps = property(sizes, ({ used, ...size }) => {
      const guest = { ...size, memoryUsedBytes: used * size.memoryTotalBytes };
      const actions = planOf(guest, 61).intents.map(({ action }) => action);
      const scales = actions.filter((action) => action.kind === 'guest.scale');
      acted += scales.length;
      expect(scales).toHaveLength(actions.length);
      expect(scales.flatMap(({ args }) => broken(guest, args))).toEqual([]);
    });
    assert(keeps, { numRuns: 300, seed: 5 });
    expect(acted).toBeGreaterThan(50);
  });

  it('waits anew after a gap, and after an unknown load', () => {
    const busy = { cpuCount: 2, cpuRatio: 0.95 };
    const { history, nowMs } = watched(busy, 4);
    const seen = (guest: Partial<GuestSample>, atMs: number) =>
      observe(history, { cluster, nodes: [nodeAt(atMs, guest)] }, policy, atMs);
    const state = { cluster, nodes: [nodeAt(nowMs + 2 * minute, busy)] };
    seen({ ...busy, cpuRatio: null }, nowMs + minute);
    seen(busy, nowMs + 2 * minute);
    expect(decide(state, policy, history, nowMs + 2 * minute).intents).toEqual([]);
    expect(planOf(busy, 6).intents).toMatchObject([{ action: { args: { cpuCount: 4 } } }]);
  });

  it('is not proposed again until the guest has needed it anew, once guards refused it', () => {
    const idle = { cpuCount: 4, cpuRatio: 0.01 };
    const { history, nowMs } = watched(idle, 61);
    const ask = (atMs: number) => {
      const state = { cluster, nodes: [nodeAt(atMs, idle)] };
      observe(history, state, policy, atMs);
      return decide(state, policy, history, atMs).intents;
    };
    const [intent] = ask(nowMs);
    if (!intent) throw new Error('nothing was proposed');
    noteRefusal(history, intent, { nowMs });
    expect(ask(nowMs + minute)).toEqual([]);
    expect(ask(nowMs + 30 * minute)).toEqual([]);
    expect(ask(nowMs + 62 * minute)).toMatchObject([{ action: { kind: 'guest.scale' } }]);
  });
});
