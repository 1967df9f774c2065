/**
 * R7: the metrics store (VictoriaMetrics) is gone for `n` seconds under a fleet at 5 s. Every sample
 * the daemons sent is in the store at the end, by its own export; memory grows by a bound, the spool
 * is drained in time, and decisions go on at their pace. The long form is 10 minutes of 2048 nodes;
 * a shorter one takes fewer nodes, and below two minutes a sample each second.
 */
import { request } from 'undici';
import { usageOf } from '../../simulator/usage.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  upperBound,
  watchMemory,
} from '../support/experiment.ts';
import { type RunningFleet, startFleet } from '../support/fleet.ts';
import { startVictoriaMetrics, until, type VictoriaMetrics } from '../support/servers.ts';

const grownMibMax = 64;
const drainSecondsMax = 300;
/** Rounds of decisions come every 10 s; fewer than this share of the usual is "affected". */
const roundsRatioMin = 0.7;
/** In less time there are too few rounds to speak of their pace; then one is enough. */
const pacedSecondsMin = 120;

type Exported = { metric: { cluster: string; node: string }; values: number[] };

/** Per node the sequence numbers that the store holds, by its own words. */
async function storedSeqs(store: VictoriaMetrics): Promise<Map<string, Set<number>>> {
  const flush = await request(`${store.url}/internal/force_flush`);
  await flush.body.dump();
  const query = new URLSearchParams({ 'match[]': 'node_seq' });
  const { body } = await request(`${store.url}/api/v1/export?${query.toString()}`);
  const nodes = new Map<string, Set<number>>();
  for (const line of (await body.text()).split('\n')) {
    if (line === '') continue;
    const { metric, values } = JSON.parse(line) as Exported;
    const key = `${metric.cluster}/${metric.node}`;
    const seqs = nodes.get(key) ?? new Set<number>();
    for (const value of values) seqs.add(value);
    nodes.set(key, seqs);
  }
  return nodes;
}

const countOf = (nodes: Map<string, Set<number>>): number =>
  [...nodes.values()].reduce((sum, seqs) => sum + seqs.size, 0);

function judgeStored(nodes: Map<string, Set<number>>, expected: number) {
  const violations: string[] = [];
  let missing = 0;
  for (const [node, seqs] of nodes) {
    const holes = Math.max(...seqs) - seqs.size;
    missing += holes;
    if (holes > 0) violations.push(`${node}: ${holes} samples are missing in the store`);
  }
  // This host's own daemon is there, too.
  if (nodes.size < expected) violations.push(`${nodes.size} of ${expected} nodes in the store`);
  return { missing, violations };
}

const rounds = (fleet: RunningFleet): Promise<number> =>
  fleet.figure('kr_decide_round_duration_seconds_count');

async function roundsPerSecond(fleet: RunningFleet, during: () => Promise<unknown>) {
  const [before, startMs] = [await rounds(fleet), performance.now()];
  await during();
  return ((await rounds(fleet)) - before) / ((performance.now() - startMs) / 1000);
}

/** What the spool came to while the store was gone. */
async function outage(fleet: RunningFleet, store: VictoriaMetrics, seconds: number) {
  const usual = await roundsPerSecond(fleet, () => pauseMs(Math.max(20, seconds / 10) * 1_000));
  const memory = watchMemory(() => fleet.stack.run().pid);
  await store.halt();
  const during = await roundsPerSecond(fleet, async () => {
    const before = await rounds(fleet);
    await pauseMs(seconds * 1_000);
    await until(async () => (await rounds(fleet)) > before, { what: 'a round of decisions' });
  });
  const spoolBytes = await fleet.figure('kr_store', { figure: 'spoolBytes' });
  const spoolSamples = await fleet.figure('kr_store', { figure: 'spoolSamples' });
  await store.restart();
  const [startMs, before] = [performance.now(), usageOf(fleet.stack.run().pid)];
  const isDrained = async () => (await fleet.figure('kr_store', { figure: 'spoolSamples' })) === 0;
  await until(isDrained, { withinMs: 2 * drainSecondsMax * 1_000, what: 'an empty spool' });
  const drainSeconds = (performance.now() - startMs) / 1000;
  const after = usageOf(fleet.stack.run().pid);
  const { baseMib, peakMib } = memory.stop();
  const dropped = await fleet.figure('kr_store', { figure: 'spoolDropped' });
  return {
    spoolMib: Number((spoolBytes / 2 ** 20).toFixed(2)),
    spoolSamples,
    spoolDropped: dropped,
    drainSeconds: Number(drainSeconds.toFixed(1)),
    drainCpuRatio:
      before && after
        ? Number(((after.cpuSeconds - before.cpuSeconds) / drainSeconds).toFixed(2))
        : null,
    baseMib,
    grownMib: peakMib - baseMib,
    roundsPerSecond: { usual: Number(usual.toFixed(3)), outage: Number(during.toFixed(3)) },
  };
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const nodes = Math.min(2_048, n * 4);
  const guests = 20;
  const store = await startVictoriaMetrics();
  const settings = { KR_INFLUX_URL: store.url, KR_INFLUX_TOKEN: 'unused' };
  const intervalSeconds = n < pacedSecondsMin ? 1 : 5;
  const load = { seed, nodes, guests, intervalSeconds, minutes: 600, settings };
  const fleet = await startFleet(load).catch(async (error: unknown) => {
    await store.stop();
    throw error;
  });
  try {
    const figures = await outage(fleet, store, n);
    say(JSON.stringify(figures));
    fleet.simulation.run.signal('SIGKILL');
    await fleet.simulation.run.exited;
    const stored = () => fleet.figure('kr_ingest_total', { figure: 'stored' });
    const held = async () => {
      const queued = await fleet.figure('kr_ingest_total', { figure: 'queued' });
      return queued + (await fleet.figure('kr_ingest_total', { figure: 'inFlight' }));
    };
    await until(async () => (await held()) === 0, { what: 'an empty buffer' });
    const sent = await stored();
    // A store flushes what it has just taken before it can answer for it.
    const isThere = async () => countOf(await storedSeqs(store)) >= sent;
    await until(isThere, { withinMs: 60_000, what: `${sent} samples in the store` }).catch(
      () => undefined,
    );
    const seqs = await storedSeqs(store);
    const { missing, violations } = judgeStored(seqs, nodes);
    const { grownMib, drainSeconds, spoolDropped, spoolSamples, roundsPerSecond: pace } = figures;
    if (spoolSamples === 0) violations.push('nothing was spooled: the outage was none');
    if (countOf(seqs) < sent) violations.push(`${countOf(seqs)} of ${sent} samples are stored`);
    if (spoolDropped > 0) violations.push(`the spool dropped ${spoolDropped} samples`);
    if (grownMib > grownMibMax) violations.push(`memory grew by ${grownMib} MiB`);
    if (drainSeconds > drainSecondsMax) violations.push(`drained in ${drainSeconds} s`);
    if (n >= pacedSecondsMin && pace.outage < roundsRatioMin * pace.usual) {
      violations.push(`decisions slowed from ${pace.usual} to ${pace.outage} a second`);
    }
    const counts = { outageSeconds: n, nodes, guests, intervalSeconds, sent, missing };
    return { ...counts, ...figures, upperBound: upperBound(sent), violations };
  } finally {
    await fleet.remove();
    await store.stop();
  }
}

export const r07 = experiment(import.meta, { name: 'R7', short: 8, long: 600, run });
