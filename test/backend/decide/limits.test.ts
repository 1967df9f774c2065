import { describe, expect, it } from 'vitest';
import { oscillationOf } from '../../../backend/decide/detectors.ts';
import type { Move } from '../../../backend/decide/history.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import { recentOf } from '../../../backend/decide/recent.ts';

const home = { id: 'home', timeScale: 1 };
const hourMs = 3_600_000;
const nowMs = 100 * hourMs;
const ago = (hours: number, guest: string, way: string, more: Partial<Move> = {}): Move => {
  const [fromNode = '', toNode = null] = way.split(' ');
  return { guest, fromNode, toNode, atMs: nowMs - hours * hourMs, ...more };
};
const historyOf = (...moves: Move[]) => ({ moves: new Map([['home', moves]]) });

describe('an oscillation', () => {
  const toAndFro = [
    ago(3, 'web', 'a b'),
    ago(2, 'web', 'b a'),
    ago(1.5, 'web', 'a b'),
    ago(0.5, 'web', 'b a'),
  ];
  it('is a guest that the engine takes back twice to where it was', () => {
    expect(oscillationOf(home, historyOf(...toAndFro), { nowMs, guests: 10 })).toEqual({
      guests: ['web'],
      returns: 3,
      untilMs: nowMs + 0.5 * hourMs,
    });
  });

  it.each<[string, Move[]]>([
    ['a single return', toAndFro.slice(0, 2)],
    ['a tour without a return', [ago(3, 'web', 'a b'), ago(2, 'web', 'b c'), ago(1, 'web', 'c d')]],
    ['what people move', toAndFro.map((move) => ({ ...move, byPerson: true }))],
    ['moves that failed', toAndFro.map((move) => ({ ...move, failed: true }))],
    ['what is hours ago', toAndFro.map((move) => ({ ...move, atMs: move.atMs - 8 * hourMs }))],
    ['two guests that change places once', [ago(2, 'web', 'a b'), ago(2, 'mail', 'b a')]],
  ])('is not %s', (_, moves) => {
    expect(oscillationOf(home, historyOf(...moves), { nowMs, guests: 10 })).toBeNull();
  });

  it('is also many guests that each come back once', () => {
    const guests = ['a', 'b', 'c', 'd', 'e', 'f'];
    const moves = guests.flatMap((guest) => [ago(2, guest, 'n1 n2'), ago(0.5, guest, 'n2 n1')]);
    expect(oscillationOf(home, historyOf(...moves), { nowMs, guests: 10 })?.guests).toEqual(guests);
    expect(oscillationOf(home, historyOf(...moves.slice(2)), { nowMs, guests: 10 })).toBeNull();
  });

  it('takes more of it in a large cluster, so that one guest does not stop five hundred', () => {
    const restless = Array.from({ length: 10 }, (_, guest) =>
      toAndFro.map((move) => ({ ...move, guest: `g${guest}` })),
    );
    const in500 = { nowMs, guests: 500 };
    expect(oscillationOf(home, historyOf(...restless.slice(0, 8).flat()), in500)).toBeNull();
    expect(oscillationOf(home, historyOf(...restless.flat()), in500)?.guests).toHaveLength(10);
  });

  it('ends when nothing came back for an hour', () => {
    const later = nowMs + 0.5 * hourMs;
    expect(
      oscillationOf(home, historyOf(...toAndFro), { nowMs: later - 1, guests: 10 }),
    ).not.toBeNull();
    expect(oscillationOf(home, historyOf(...toAndFro), { nowMs: later, guests: 10 })).toBeNull();
  });

  it('is over sooner where time runs faster', () => {
    const fast = { id: 'home', timeScale: 60 };
    expect(oscillationOf(fast, historyOf(...toAndFro), { nowMs, guests: 10 })).toBeNull();
  });
});

describe('what moved lately', () => {
  const moves = [
    ago(30, 'web', 'a b'),
    ago(5, 'web', 'b a', { failed: true }),
    ago(0.5, 'web', 'b c', { failed: true }),
    ago(0.4, 'mail', 'a c'),
  ];
  const recent = recentOf(home, historyOf(...moves), Policy.parse({}), nowMs);
  it('counts a guest by day, nodes and cluster by hour', () => {
    expect(recent.movesLeft('web')).toBe(0);
    expect(recent.movesLeft('mail')).toBe(1);
    expect(recent.ofNode('c')).toBe(2);
    expect(recent.ofNode('b')).toBe(1);
    expect(recent.ofCluster).toBe(2);
  });
  it('knows since when a guest left a node, and how often it failed in a row', () => {
    expect(recent.leftAgoMs('web', 'b')).toBe(0.5 * hourMs);
    expect(recent.leftAgoMs('web', 'a')).toBeNull();
    expect(recent.failuresOf('web')).toBe(2);
    expect(recent.failuresOf('mail')).toBe(0);
  });
});
