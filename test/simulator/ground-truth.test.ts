import { describe, expect, it } from 'vitest';
import type { CommandState } from '../../broker/contract/command.ts';
import { compare } from '../../simulator/ground-truth.ts';
import type { EffectRecord } from '../../simulator/world/model.ts';

const line = (commandId: string | null, effect: 'start' | 'end'): EffectRecord => ({
  atMs: 1,
  cluster: 'sim-001',
  kind: 'guest.start',
  node: 'n0001',
  guest: '100',
  commandId,
  effect,
  outcome: effect === 'end' ? 'ok' : null,
});
const effects = (starts: number): EffectRecord[] =>
  Array.from({ length: starts }, () => [line('c', 'start'), line('c', 'end')]).flat();
const judge = (state: CommandState, starts: number): string[] =>
  compare([{ id: 'c', kind: 'guest.start', state }], effects(starts)).violations;

describe('the comparison with the ground truth', () => {
  it.each<[CommandState, number]>([
    ['SUCCEEDED', 1],
    ['FAILED', 0],
    ['FAILED', 1],
    ['REJECTED', 0],
    ['CANCELLED', 0],
    ['EXPIRED', 0],
    ['INDETERMINATE', 0],
    ['INDETERMINATE', 1],
    ['RUNNING', 1],
  ])('accepts %s with %i effects', (state, starts) => {
    expect(judge(state, starts)).toEqual([]);
  });

  it.each<[CommandState, number]>([
    ['SUCCEEDED', 0],
    ['SUCCEEDED', 2],
    ['FAILED', 2],
    ['REJECTED', 1],
    ['CANCELLED', 1],
    ['EXPIRED', 1],
    ['INDETERMINATE', 2],
  ])('objects to %s with %i effects', (state, starts) => {
    expect(judge(state, starts)).toEqual([
      `guest.start c is ${state} and began ${starts} times in the world`,
    ]);
  });

  it('ignores what nobody commanded and counts what has not ended', () => {
    const told = [
      { id: 'a', kind: 'node.wake', state: 'RUNNING' as const },
      { id: 'b', kind: 'node.wake', state: 'INDETERMINATE' as const },
    ];
    expect(compare(told, [line(null, 'start')])).toEqual({
      violations: [],
      notTerminal: 2,
      indeterminate: 1,
    });
  });
});
