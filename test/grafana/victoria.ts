/** A VictoriaMetrics as Grafana's data source asks it, and as the backend writes to it. */
import { until } from '../support/servers.ts';

export type Sample = { labels: Record<string, string>; value: number };
type Found = {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
};
type Answer = { status: string; error?: string; data?: { result: Found[] } };

async function ask(url: string, path: string, query: Record<string, string>): Promise<Found[]> {
  const answer = await fetch(`${url}${path}?${new URLSearchParams(query).toString()}`);
  const { status, error, data } = (await answer.json()) as Answer;
  if (status === 'success') return data?.result ?? [];
  throw new Error(`${query['query'] ?? ''}\n${error ?? `answered ${answer.status}`}`);
}

/** The newest value of each series at that time. */
export async function instant(url: string, query: string, atMs: number): Promise<Sample[]> {
  // Its cache would not see samples of the past that come later.
  const time = { query, time: String(atMs / 1_000), nocache: '1' };
  const found = await ask(url, '/api/v1/query', time);
  return found.map(({ metric, value }) => ({ labels: metric, value: Number(value?.[1]) }));
}

export async function range(
  url: string,
  query: string,
  { fromMs, toMs, stepSeconds }: { fromMs: number; toMs: number; stepSeconds: number },
): Promise<{ labels: Record<string, string>; values: number[] }[]> {
  const [start, end] = [String(fromMs / 1_000), String(toMs / 1_000)];
  const span = { query, start, end, step: String(stepSeconds), nocache: '1' };
  const found = await ask(url, '/api/v1/query_range', span);
  return found.map(({ metric, values = [] }) => ({
    labels: metric,
    values: values.map(([, value]) => Number(value)),
  }));
}

const linesPerRequest = 10_000;

/** Resolves when the newest lines, of nodes, can be found. */
export async function importLines(url: string, lines: readonly string[]): Promise<void> {
  for (let start = 0; start < lines.length; start += linesPerRequest) {
    const body = lines.slice(start, start + linesPerRequest).join('\n');
    const answer = await fetch(`${url}/api/v2/write?precision=ms`, { method: 'POST', body });
    if (answer.status !== 204) throw new Error(`the write was answered ${answer.status}`);
  }
  const newestMs = Math.max(
    ...lines
      .filter((line) => line.startsWith('node,'))
      .map((line) => Number(line.split(' ').at(-1))),
  );
  await until(
    async () => {
      await fetch(`${url}/internal/force_flush`);
      return (await instant(url, 'last_over_time(node_cpuRatio[1s])', newestMs)).length > 0;
    },
    { what: 'the imported lines' },
  );
}
