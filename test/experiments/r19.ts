/**
 * R19: machines that do not come up, by seed on one virtual clock: the production command service
 * over SQL, hand-written hosts, a network that loses and repeats. A node whose way back is not
 * proven is never switched off; a wake that nothing came of is never told as done, and a person
 * knows within 12 minutes; after it, with the limits of a real cluster, no second node goes.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Submission } from '../../backend/act/planned.ts';
import { type CommandState, isTerminal } from '../../broker/contract/command.ts';
import { createWorld, type Service, type World } from '../backend/act/twin.ts';
import { judge } from '../support/checker.ts';
import {
  chance,
  experiment,
  type Figures,
  type Scope,
  spread,
  upperBound,
} from '../support/experiment.ts';

const layout = { clusters: { home: ['n1', 'n2', 'n3', 'n4'] }, guests: {} };
const minute = 60_000;
const toldMaxMs = 12 * minute;

type Night = { violations: string[]; woke: boolean; broken: boolean; toldMs: number | null };

const wish = (kind: 'node.shutdown' | 'node.wake', node: string): Submission => ({
  cluster: 'home',
  kind,
  node,
  args: {},
  origin: 'token',
  actor: 'token:t',
  approved: true,
});

/** How a wish ends, or that it was refused at the door. */
async function outcome(world: World, service: Service, asked: Submission) {
  const startMs = world.clock.monotonicMs();
  const answer = await service.commands.submit(asked);
  if (!answer.ok) return { state: 'REJECTED', reason: answer.refusal.code, tookMs: 0 };
  for (;;) {
    await world.clock.advance(1_000);
    const { state, state_reason: reason } = await world.command(answer.id);
    const tookMs = world.clock.monotonicMs() - startMs;
    const isOver = isTerminal(state as CommandState) || state === 'INDETERMINATE';
    if (isOver || tookMs > 30 * minute) return { state, reason: reason ?? '', tookMs };
  }
}

/** A wake that was not proven is tried again by its other ways, each under an id of its own. */
async function untilQuiet(world: World): Promise<void> {
  for (let waited = 0; waited < 90; waited += 1) {
    const rows = await world.database.db.selectFrom('commands').select('state').execute();
    const isOver = ({ state }: { state: string }): boolean =>
      isTerminal(state as CommandState) || state === 'INDETERMINATE';
    if (rows.every(isOver)) return;
    await world.clock.advance(minute);
  }
}

const setCluster = async (world: World, change: { limits?: string; settings?: string }) =>
  world.database.db.updateTable('clusters').set(change).execute();

async function night(folder: string, seed: number): Promise<Night> {
  const draw = chance(seed);
  const faults = { loss: draw.ratio() * 0.3, duplicate: draw.ratio() * 0.5, delayMs: 2_000 };
  const world = await createWorld({ folder, seed, layout, faults });
  const service = world.createService();
  const violations: string[] = [];
  try {
    await service.commands.start();
    await world.boot();
    await world.clock.advance(minute);
    const node = draw.pick(layout.clusters.home);
    await setCluster(world, { settings: JSON.stringify({ wakeProof: 'required' }) });
    const unproven = await outcome(world, service, wish('node.shutdown', node));
    if (world.effects.length > 0) violations.push(`seed ${seed}: off without a proven way back`);
    if (unproven.state !== 'REJECTED') violations.push(`seed ${seed}: unproven ${unproven.state}`);
    await setCluster(world, {
      settings: JSON.stringify({ wakeProof: 'assumed', reserve: 'none' }),
    });
    await outcome(world, service, wish('node.shutdown', node));
    if (!world.isOff(node)) return { violations, woke: false, broken: false, toldMs: null };
    await world.clock.advance(draw.between(1, 5) * minute);
    const broken = draw.is(0.5);
    if (broken) world.breakWakes();
    const wake = await outcome(world, service, wish('node.wake', node));
    if (broken && wake.state === 'SUCCEEDED') violations.push(`seed ${seed}: told as woken`);
    if (broken && wake.tookMs > toldMaxMs)
      violations.push(`seed ${seed}: told after ${wake.tookMs}`);
    if (!broken && wake.state !== 'SUCCEEDED') {
      violations.push(`seed ${seed}: ${wake.state} ${wake.reason}`);
    }
    if (broken) {
      await setCluster(world, { limits: '{}' });
      const begun = world.effects.filter(({ kind }) => kind === 'node.shutdown').length;
      const other = layout.clusters.home.find((one) => one !== node) ?? '';
      await outcome(world, service, wish('node.shutdown', other));
      const after = world.effects.filter(({ kind }) => kind === 'node.shutdown').length;
      if (after > begun) violations.push(`seed ${seed}: a second node went after a failed wake`);
    }
    await untilQuiet(world);
    const effects = world.effects.map(({ commandId }) => ({ commandId, effect: 'start' }));
    const judged = await judge(world.database, { accepted: [], effects });
    violations.push(
      ...judged.violations.map((line) => `seed ${seed}: ${line}`),
      ...world.violations,
    );
    return { violations, woke: wake.state === 'SUCCEEDED', broken, toldMs: wake.tookMs };
  } finally {
    await service.commands.stop();
    await world.database.close();
  }
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-r19-'));
  try {
    const nights: Night[] = [];
    for (let index = 0; index < n; index += 1) {
      nights.push(await night(folder, seed + index));
      if (nights.length % 100 === 0) say(`${nights.length} nights`);
    }
    const slept = nights.filter(({ toldMs }) => toldMs !== null);
    const failed = slept.filter(({ broken }) => broken);
    return {
      nights: n,
      slept: slept.length,
      woke: slept.filter(({ woke }) => woke).length,
      failedWakes: failed.length,
      failureToldMs: spread(failed.map(({ toldMs }) => toldMs ?? 0)),
      upperBound: upperBound(n),
      violations: nights.flatMap(({ violations }) => violations),
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

export const r19 = experiment(import.meta, { name: 'R19', short: 4, long: 1_000, run });
