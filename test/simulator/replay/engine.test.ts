import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { beforeAll, describe, expect, it } from 'vitest';
import { Policy } from '../../../backend/decide/policy.ts';
import { CloudsimWorld, tickSeconds } from '../../../simulator/replay/cloudsim-world.ts';
import { enginePolicy } from '../../../simulator/replay/engine.ts';
import { initialPlacement } from '../../../simulator/replay/placement.ts';
import type { ReplayPolicy } from '../../../simulator/replay/policy.ts';
import { lr } from '../../../simulator/replay/reference/detectors.ts';
import { mmtPolicy } from '../../../simulator/replay/reference/mmt.ts';
import { p0Policy } from '../../../simulator/replay/reference/p0.ts';
import { play, rulesOf } from '../../../simulator/replay/run.ts';
import { planetlabHosts } from '../../../simulator/replay/specs.ts';
import type { Trace } from '../../../simulator/replay/trace.ts';
import type { Move } from '../../../simulator/replay/world.ts';
import { tinyTrace } from './tiny.ts';

let policy: Policy;
beforeAll(async () => {
  const path = join(import.meta.dirname, '../../../simulator/replay/planetlab.yaml');
  policy = Policy.parse(parse(await readFile(path, 'utf8')));
});

const hosts = planetlabHosts(24);

function movesOf(trace: Trace, replayed: ReplayPolicy): Move[][] {
  const world = new CloudsimWorld(trace, hosts, initialPlacement(trace, hosts), rulesOf.B);
  return tickSeconds(trace).map((seconds, tick) => {
    world.advance(seconds);
    const moves = replayed.decide(world, tick);
    world.start(moves);
    return moves;
  });
}

/** The file from which a source takes a name, as the loader would find it. */
async function sourceOf(path: string, name: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  const [, from] =
    new RegExp(`import \\{[^}]*\\b${name}\\b[^}]*\\} from '([^']+)'`).exec(text) ?? [];
  if (from === undefined) throw new Error(`${path} imports no ${name}`);
  return resolve(dirname(path), from);
}

describe('the engine in a replay', () => {
  it.each(['decide', 'observe', 'record'])(
    'is the one of production: the same %s',
    async (name) => {
      const root = join(import.meta.dirname, '../../..');
      const here = await sourceOf(join(root, 'simulator/replay/engine.ts'), name);
      const there = await sourceOf(join(root, 'backend/round.ts'), name);
      const load = async (path: string): Promise<unknown> =>
        ((await import(path)) as Record<string, unknown>)[name];
      expect(await load(here)).toBeTypeOf('function');
      expect(await load(here)).toBe(await load(there));
    },
  );

  it('needs less energy than LR-MMT with a fraction of its moves and violations', () => {
    const trace = tinyTrace(48, 11);
    const day = { trace, order: 'sorted', hosts, placement: initialPlacement(trace, hosts) };
    const own = play(day, enginePolicy(policy), rulesOf.B, () => 0);
    const theirs = play(day, mmtPolicy('lr-mmt', lr(1.2)), rulesOf.B, () => 0);
    expect(own.energyKwh).toBeLessThan(theirs.energyKwh);
    expect(own.migrations).toBeLessThan(theirs.migrations / 2);
    expect(own.slav).toBeLessThan(theirs.slav / 2);
  });

  it('takes the same decisions again, byte for byte', () => {
    const trace = tinyTrace(48, 12);
    const first = JSON.stringify(movesOf(trace, enginePolicy(policy)));
    expect(JSON.stringify(movesOf(trace, enginePolicy(policy)))).toBe(first);
  });

  it.each([
    ['kernreaktor', () => enginePolicy(policy)],
    ['p0', () => p0Policy()],
  ])(
    'knows nothing of the future: poisoned samples change no decision before them, %s',
    (_, make) => {
      const trace = tinyTrace(48, 13);
      const honest = movesOf(trace, make());
      let changed = 0;
      for (const last of [1, 60, 150, 286]) {
        const cpu = trace.cpu.slice();
        for (let guest = 0; guest < trace.guestCount; guest += 1) {
          cpu.fill(100, guest * trace.steps + last + 1, (guest + 1) * trace.steps);
        }
        const poisoned = movesOf({ ...trace, cpu }, make());
        expect(poisoned.slice(0, last)).toEqual(honest.slice(0, last));
        if (JSON.stringify(poisoned) !== JSON.stringify(honest)) changed += 1;
      }
      // The poison works: it shows as soon as the policy may see it.
      expect(changed).toBe(4);
    },
  );
});
