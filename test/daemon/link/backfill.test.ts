import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Message } from '../../../broker/contract/messages.ts';
import type { Hypervisor, PastSpan } from '../../../daemon/hypervisor/port.ts';
import { type Marks, openMarks } from '../../../daemon/link/marks.ts';
import { live, settle, startWorld, valuesOf, type World } from './twin.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-backfill-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** What a hypervisor keeps: a sample at every full ten seconds. */
function keeper() {
  const asked: PastSpan[] = [];
  const history: NonNullable<Hypervisor['history']> = async (_node, span) => {
    asked.push(span);
    const past = [];
    for (let atMs = Math.ceil(span.afterMs / 10_000) * 10_000; atMs < span.beforeMs; atMs += 10_000)
      if (atMs > span.afterMs) past.push({ atMs, node: valuesOf(0.9), guests: [] });
    return past;
  };
  return { asked, history };
}

/** In memory, so that virtual time need not wait for a disk. */
function marksOf(first: number | null) {
  const written: { atMs: number; isLast: boolean }[] = [];
  const marks: Marks = {
    read: async () => first,
    write: async (_node, mark) => void written.push(mark),
  };
  return { marks, written };
}

type Sample = Message<'telemetry'>;
const filled = ({ server }: World): Sample[] =>
  server.of('telemetry').filter(({ body }) => body.backfilled === true);
const times = (samples: readonly Sample[]): number[] => samples.map(({ body }) => body.sampledAtMs);
const wall = ({ clock }: World): number => clock.wallMs();
const outageMs = 120_000;

describe('what a daemon missed', () => {
  it('is filled in after a start, each point once, with its own time and marked', async () => {
    const { asked, history } = keeper();
    const startMs = 1_800_000_000_000;
    const world = await startWorld({ history, marks: marksOf(startMs - outageMs).marks });
    await live(world, 60_000);
    const past = times(filled(world));
    expect(past.length).toBeGreaterThanOrEqual(11);
    expect(new Set(past).size).toBe(past.length);
    const first = Math.min(
      ...times(world.server.of('telemetry').filter((s) => !s.body.backfilled)),
    );
    expect(Math.min(...past)).toBeGreaterThanOrEqual(startMs - outageMs + 5_000);
    expect(Math.max(...past)).toBeLessThan(first);
    expect(first - Math.max(...past)).toBeLessThanOrEqual(15_000);
    expect(filled(world).map(({ body }) => body.node.cpuRatio)).toEqual(past.map(() => 0.9));
    expect(asked.map(({ beforeMs, afterMs }) => beforeMs > afterMs)).not.toContain(false);
  });

  it('comes between live samples under numbers without a hole', async () => {
    const { history } = keeper();
    const startMs = 1_800_000_000_000;
    const world = await startWorld({ history, marks: marksOf(startMs - outageMs).marks });
    await live(world, 60_000);
    const seqs = world.server.of('telemetry').map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    expect(world.server.duplicates).toBe(0);
  });

  it('is filled in, too, when the driver gave no sample for a while', async () => {
    const { asked, history } = keeper();
    const world = await startWorld({ history });
    await live(world, 20_000);
    expect(asked).toEqual([]);
    const lastMs = Math.max(...times(world.server.of('telemetry')));
    world.fleet.sampleHook = async () => {
      throw new Error('the tool hangs');
    };
    await live(world, 60_000);
    world.fleet.sampleHook = undefined;
    await live(world, 60_000);
    const past = times(filled(world));
    expect(past).toHaveLength(5);
    expect(Math.min(...past)).toBeGreaterThan(lastMs);
  });

  it('is asked in parts of five minutes, and an hour of it at most', async () => {
    const { asked, history } = keeper();
    const startMs = 1_800_000_000_000;
    const day = marksOf(startMs - 86_400_000);
    const world = await startWorld({ history, marks: day.marks });
    await live(world, 400_000);
    expect(asked).toHaveLength(12);
    expect(new Set(times(filled(world))).size).toBe(filled(world).length);
    expect(filled(world).length).toBeGreaterThan(350);
  });

  it('stays a gap where the hypervisor cannot say, and nothing else suffers', async () => {
    const world = await startWorld({
      marks: marksOf(1_800_000_000_000 - outageMs).marks,
      history: async () => {
        throw new Error('pvesh hangs');
      },
    });
    await live(world, 30_000);
    expect(filled(world)).toEqual([]);
    expect(world.server.of('telemetry').length).toBeGreaterThanOrEqual(5);
    expect(world.log.lines.map(({ message }) => message)).toContain(
      'what was missed could not be asked for',
    );
  });

  it('is not looked for by a daemon that never ran before', async () => {
    const { asked, history } = keeper();
    const world = await startWorld({ history, marks: marksOf(null).marks });
    await live(world, 60_000);
    expect(asked).toEqual([]);
  });
});

describe('the mark of the newest sample', () => {
  it('is written every ten seconds, and exactly at an orderly end', async () => {
    const { marks, written } = marksOf(null);
    const world = await startWorld({ history: keeper().history, marks });
    await live(world, 60_000);
    expect(written.length).toBeLessThanOrEqual(7);
    await world.link.stop();
    await settle();
    const newest = Math.max(...times(world.server.of('telemetry')));
    expect(written.at(-1)).toEqual({ atMs: newest, isLast: true });
    expect(wall(world) - newest).toBeLessThanOrEqual(5_000);
  });

  it('leaves out what may have been sampled after it, and is nothing when it is damaged', async () => {
    const marks = openMarks(join(folder, 'sampled'));
    expect(await marks.read('pve1')).toBeNull();
    await marks.write('pve1', { atMs: 1_000, isLast: false });
    expect(await marks.read('pve1')).toBe(11_000);
    await marks.write('pve1', { atMs: 2_000, isLast: true });
    expect(await marks.read('pve1')).toBe(2_000);
    const path = join(folder, 'sampled', 'pve1.json');
    expect(await readFile(path, 'utf8')).toContain('2000');
    await writeFile(path, '{"atMs":');
    expect(await marks.read('pve1')).toBeNull();
  });
});
