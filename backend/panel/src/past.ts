/**
 * The last five minutes of every small fleet, asked once at the start, so that sparklines do not
 * begin empty. A fleet too large for cards is left out: its squares show no past.
 */
import { get, query } from './api.ts';
import { beat, nodes, sparkLength, sparks } from './live.ts';

type Telemetry = { series: { node: string; points: [number, number | null][] }[] };

const nodesMax = 300;
const stepMs = 5_000;

async function fill(cluster: string): Promise<void> {
  const asked = query({
    cluster,
    metrics: 'cpuRatio',
    from: Date.now() - sparkLength * stepMs,
    stepMs,
  });
  const { series } = await get<Telemetry>(`telemetry?${asked}`);
  for (const { node, points } of series) {
    const spark = sparks.get(`${cluster}/${node}`);
    if (!spark) continue;
    // What came live meanwhile is newer and stays at the end.
    const live = spark.filter((value) => !Number.isNaN(value));
    const past = points.map(([, value]) => value ?? Number.NaN);
    const all = [...past.slice(0, Math.max(0, past.length - live.length)), ...live];
    spark.fill(Number.NaN);
    spark.set(all.slice(-sparkLength), Math.max(0, sparkLength - all.length));
  }
  for (const [key, node] of nodes) {
    if (key.startsWith(`${cluster}/`)) node.value = { ...node.peek() };
  }
  beat.value += 1;
}

export function fillPast(): void {
  const clusters = Map.groupBy(nodes.keys(), (key) => key.slice(0, key.indexOf('/')));
  let count = 0;
  for (const [cluster, keys] of clusters) {
    count += keys.length;
    if (count > nodesMax) return;
    // Without it the lines grow from now on.
    fill(cluster).catch(() => undefined);
  }
}
