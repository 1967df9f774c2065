import { describe, expect, it } from 'vitest';
import { morningLine, sleepsOf } from '../../../backend/notify/morning.ts';
import { sleepSpans } from '../../../backend/power/sleeps.ts';
import { judge, keyOf, type NodeView, type Picture } from '../../../backend/notify/rules.ts';
import { morningOf, quietUntilMs } from '../../../backend/notify/settings.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const nowMs = Date.parse('2026-11-21T12:00:00Z');
const gib = 2 ** 30;

const node = (name: string, more: Partial<NodeView> = {}): NodeView => ({
  cluster: 'home',
  node: name,
  state: 'awake',
  desired: 'awake',
  simulated: false,
  memoryTotalBytes: 32 * gib,
  memoryUsedBytes: 8 * gib,
  guestsBytes: 6 * gib,
  ...more,
});
const picture = (more: Partial<Picture> = {}): Picture => ({
  nowMs,
  nodes: [node('pve1'), node('pve2'), node('pve3')],
  indeterminate: [],
  awaitingApproval: [],
  failedWakes: [],
  holds: [],
  certificateEndsAtMs: null,
  proofs: [],
  backupProblem: null,
  ...more,
});
const rulesOf = (more: Partial<Picture>) => judge(picture(more)).conditions.map(({ rule }) => rule);
const command = (sinceMs: number) => ({
  id: '01890000-0000-7000-8000-000000000001',
  cluster: 'home',
  kind: 'node.wake',
  target: 'pve3',
  sinceMs,
  reason: null,
});

describe('what is told', () => {
  it('is nothing of a house in which all is well', () => {
    expect(rulesOf({})).toEqual([]);
  });

  it.each([
    [
      'a failed wake',
      { failedWakes: [command(nowMs)], nodes: [node('pve3', { state: 'lost' })] },
      ['node-lost', 'wake-failed'],
    ],
    ['a failed wake of a node that is back', { failedWakes: [command(nowMs)] }, []],
    ['doubt of four minutes', { indeterminate: [command(nowMs - 240_000)] }, []],
    ['doubt of five minutes', { indeterminate: [command(nowMs - 300_000)] }, ['indeterminate']],
    [
      'HOLD for 23 hours',
      { holds: [{ cluster: 'home', sinceMs: nowMs - 23 * hourMs, reason: null }] },
      [],
    ],
    [
      'HOLD for a day',
      { holds: [{ cluster: null, sinceMs: nowMs - dayMs, reason: 'fans' }] },
      ['hold'],
    ],
    ['a lost node', { nodes: [node('pve1', { state: 'lost' })] }, ['node-lost']],
    [
      'a lost node of a simulation',
      { nodes: [node('s1', { state: 'lost', simulated: true })] },
      [],
    ],
    [
      'a node asleep as it was told',
      { nodes: [node('pve1', { state: 'asleep', guestsBytes: 0 })] },
      [],
    ],
    ['a certificate of 15 days', { certificateEndsAtMs: nowMs + 15 * dayMs }, []],
    ['a certificate of 13 days', { certificateEndsAtMs: nowMs + 13 * dayMs }, ['certificate']],
    [
      'a proof of 4 days',
      { proofs: [{ cluster: 'home', node: 'pve2', endsAtMs: nowMs + 4 * dayMs }] },
      ['wake-proof'],
    ],
    [
      'a proof of 20 days',
      { proofs: [{ cluster: 'home', node: 'pve2', endsAtMs: nowMs + 20 * dayMs }] },
      [],
    ],
    ['a proposal', { awaitingApproval: [command(nowMs)] }, ['approval']],
    ['backups that fail', { backupProblem: 'disk full' }, ['backup']],
  ] as const)('of %s is %s', (_what, more, expected) => {
    expect(rulesOf(more as Partial<Picture>)).toEqual(expected);
  });

  it('is that the loss of one more node cannot be borne, sleeping nodes counted as reserve', () => {
    const full = { memoryUsedBytes: 30 * gib, guestsBytes: 28 * gib };
    const two = [node('pve1', full), node('pve2', full)];
    expect(rulesOf({ nodes: two })).toEqual(['n-1']);
    const sleeping = node('pve3', { state: 'asleep', desired: 'asleep', guestsBytes: 0 });
    expect(rulesOf({ nodes: [...two, sleeping] })).toEqual([]);
    expect(rulesOf({ nodes: [...two, { ...sleeping, state: 'maintenance' }] })).toEqual(['n-1']);
  });

  it('is open to doubt where a restarted server has not heard a node yet', () => {
    const { conditions, unsure } = judge(picture({ nodes: [node('pve1', { state: 'unknown' })] }));
    expect(conditions).toEqual([]);
    expect([...unsure]).toEqual([
      keyOf({ rule: 'node-lost', cluster: 'home', subject: 'pve1' }),
      keyOf({ rule: 'n-1', cluster: 'home', subject: 'home' }),
    ]);
  });
});

describe('quiet hours', () => {
  const quiet = { from: '22:00', to: '07:00', zone: 'Europe/Berlin', isStrict: false };
  it.each([
    ['2026-11-21T20:59:00Z', null],
    ['2026-11-21T21:00:30Z', '2026-11-22T06:00:00.000Z'],
    ['2026-11-22T05:59:59Z', '2026-11-22T06:00:00.000Z'],
    ['2026-11-22T06:00:00Z', null],
  ])('at %s last until %s', (at, end) => {
    const untilMs = quietUntilMs(quiet, Date.parse(at));
    expect(untilMs === null ? null : new Date(untilMs).toISOString()).toBe(end);
  });

  it('are over by the clock on the wall also in the nights that change the clocks', () => {
    for (const night of ['2026-10-24T21:00:00Z', '2026-03-28T22:00:00Z']) {
      let atMs = Date.parse(night);
      for (let next = quietUntilMs(quiet, atMs); next !== null; next = quietUntilMs(quiet, atMs)) {
        atMs = next;
      }
      const wall = new Date(atMs).toLocaleTimeString('sv-SE', { timeZone: quiet.zone });
      expect({ night, isLate: wall >= '07:00:00' && wall <= '08:00:00' }).toEqual({
        night,
        isLate: true,
      });
    }
  });

  it('are none where nobody set any', () => {
    expect(quietUntilMs(null, nowMs)).toBeNull();
  });
});

describe('the morning line', () => {
  const change = (kind: string, hoursAgo: number, name = 'pve2') => ({
    cluster: 'home',
    node: name,
    kind,
    atMs: nowMs - hoursAgo * hourMs,
  });

  it('counts sleep within the last day alone, open ends too', () => {
    const sleeps = sleepsOf(
      sleepSpans([
        change('node.shutdown', 30),
        change('node.wake', 22),
        change('node.shutdown', 5),
        change('node.shutdown', 3, 'pve3'),
        change('node.wake', 2.5, 'pve3'),
      ]),
      nowMs,
    );
    expect(sleeps.map(({ node: name, sleptMs }) => [name, sleptMs / hourMs])).toEqual([
      ['pve2', 7],
      ['pve3', 0.5],
    ]);
  });

  it('says who slept, what that saved and what was refused', () => {
    const price = { pricePerKwh: 0.3, currency: 'EUR' };
    const night = {
      sleeps: [
        { node: 'pve2', sleptMs: 4 * hourMs, watts: 250 },
        { node: 'pve3', sleptMs: 3 * hourMs + 600_000, watts: 284.2 },
      ],
      refused: 0,
    };
    expect(morningLine(night, price)).toBe(
      'Last night 2 nodes slept 7 h 10, 1.9 kWh (0.57 EUR) saved, 0 refused',
    );
    const unknown = { sleeps: [{ node: 'pve2', sleptMs: hourMs, watts: null }], refused: 2 };
    expect(morningLine(unknown, price)).toBe('Last night 1 node slept 1 h 00, 2 refused');
    expect(morningLine({ sleeps: [], refused: 0 }, price)).toBeNull();
  });

  it('is due once its hour has come in its zone', () => {
    const morning = { at: '08:00', zone: 'Europe/Berlin', pricePerKwh: null, currency: 'EUR' };
    expect(morningOf(morning, Date.parse('2026-11-21T06:59:00Z'))).toBeNull();
    expect(morningOf(morning, Date.parse('2026-11-21T07:00:00Z'))).toBe('2026-11-21');
    expect(morningOf(null, nowMs)).toBeNull();
  });
});
