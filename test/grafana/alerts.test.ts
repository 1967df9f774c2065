/**
 * Every alert rule against a real VictoriaMetrics: an hour in which all is well fires none, and each
 * fault fires what it should and nothing else.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { alerts, type AlertSpec } from '../../grafana/source/alerts.ts';
import { type Server, startVictoriaMetrics } from '../support/servers.ts';
import { type Fault, linesOfStory } from './story.ts';
import { importLines, instant } from './victoria.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

let server: Server;
const nowMs = Math.floor(Date.now() / minuteMs) * minuteMs;
/** Each story has hours of its own, apart from the others'. */
const beginOf = (place: number): number => nowMs - (place + 1) * 3 * hourMs;

beforeAll(async () => {
  server = await startVictoriaMetrics();
});
afterAll(() => server?.stop());

/** As the threshold of a rule is applied, without its `for`. */
async function exceeds({ promql, fires, noData }: AlertSpec, atMs: number): Promise<boolean> {
  const found = await instant(server.url, promql, atMs);
  if (found.length === 0) return noData === 'Alerting';
  return found.some(({ value }) =>
    fires.when === 'gt' ? value > fires.threshold : value < fires.threshold,
  );
}

const durationMs = (text: string): number =>
  Number.parseInt(text) * (text.endsWith('h') ? hourMs : text.endsWith('m') ? minuteMs : 1_000);

/** Fires at that time: exceeded at each evaluation since `for`. */
async function firing(atMs: number): Promise<string[]> {
  const found: string[] = [];
  for (const spec of alerts) {
    let holds = true;
    for (let t = atMs - durationMs(spec.forDuration); holds && t <= atMs; t += minuteMs) {
      holds = await exceeds(spec, t);
    }
    if (holds) found.push(spec.uid);
  }
  return found;
}

it('is quiet through an hour in which all is well', async () => {
  const fromMs = beginOf(0) - hourMs;
  const toMs = fromMs + hourMs;
  await importLines(server.url, await linesOfStory({ fromMs, toMs }));
  expect((await instant(server.url, 'node_cpuRatio', toMs - minuteMs)).length).toBe(3);
  const exceeded: string[] = [];
  for (let atMs = fromMs + 2 * minuteMs; atMs < toMs; atMs += 2 * minuteMs) {
    for (const spec of alerts) {
      if (await exceeds(spec, atMs)) exceeded.push(`${spec.uid} at ${(atMs - fromMs) / minuteMs}`);
    }
  }
  expect(exceeded).toEqual([]);
}, 120_000);

const faults: [string, Fault][] = [
  ['kr-server-silent', (now) => (now.isSilent = true)],
  ['kr-node-stale', (now) => now.lost.add('n0002')],
  ['kr-wake-failed', (_now, observation) => observation.commandTransition('node.wake', 'FAILED')],
  ['kr-indeterminate', (now) => (now.commands['INDETERMINATE'] = 1)],
  ['kr-n-minus-one', (now) => (now.memoryUsedRatio = 0.8)],
  ['kr-oscillation', (_now, observation) => observation.oscillation('sim-001')],
  ['kr-ingest-lag', (now) => (now.lagMs = 8_000)],
  ['kr-samples-dropped', (now) => (now.ingest['dropped'] = 5)],
  ['kr-spool', (now) => (now.store['spoolBytes'] = 4_096)],
  ['kr-store-rejects', (now) => (now.store['refusedLines'] = 1)],
  ['kr-audit-chain', (now) => (now.audit = [{ chain: 'sim-001', ok: false, entries: 4 }])],
  ['kr-certificate', (now) => (now.certificateEndsAtMs -= 80 * 86_400_000)],
];

describe('a fault', () => {
  it('is known for every rule', () => {
    expect(faults.map(([uid]) => uid).toSorted()).toEqual(alerts.map(({ uid }) => uid).toSorted());
  });

  it.each(faults)(
    'that %s is for fires that rule alone, and only after it happened',
    async (uid, happens) => {
      const rule = alerts.find((spec) => spec.uid === uid);
      const place = faults.findIndex(([name]) => name === uid) + 1;
      const fromMs = beginOf(place);
      const atMs = fromMs + 20 * minuteMs;
      // Lookback of five minutes, what a rule waits for, and some.
      const toMs = atMs + 8 * minuteMs + durationMs(rule?.forDuration ?? '0s');
      const fault = { atMs, happens };
      await importLines(server.url, await linesOfStory({ fromMs, toMs, fault }));
      expect(await firing(atMs - minuteMs)).toEqual([]);
      expect(await firing(toMs - minuteMs)).toEqual([uid]);
    },
    60_000,
  );
});
