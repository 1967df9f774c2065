/** `backtest`: what a policy would have done with what is recorded, and what it would have saved. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Clock } from '../../broker/contract/ports.ts';
import { isStrategy, strategyNames } from '../decide/strategies.ts';
import type { ClientApi } from './api.ts';
import { allOf, NotFound } from './find.ts';
import { json, number, table } from './output.ts';
import { ClusterRow, pageOf } from './views.ts';

const Run = z.object({ kwh: z.number(), minutesOver: z.number(), nodeHoursAwake: z.number() });
const Outcome = z.looseObject({
  recorded: Run.extend({ measuredKwh: z.number().nullable() }),
  replayed: Run.extend({
    moves: z.number(),
    movesPerDay: z.number(),
    wakes: z.number(),
    sleeps: z.number(),
  }),
  savedKwh: z.number(),
  saved: z.object({ amount: z.number(), pricePerKwh: z.number() }).nullable(),
  actions: z.array(z.looseObject({ at: z.string(), kind: z.string(), reason: z.string() })),
  actionCount: z.number(),
  held: z.array(z.object({ rule: z.string(), reason: z.string(), rounds: z.number() })),
  resolution: z.array(
    z.object({ from: z.string(), to: z.string(), stepMs: z.number(), source: z.string() }),
  ),
  coverage: z.number(),
  assumptions: z.array(z.string()),
});
const View = z.looseObject({
  id: z.string(),
  cluster: z.string(),
  state: z.enum(['running', 'done', 'cancelled', 'failed']),
  from: z.string(),
  to: z.string(),
  progress: z.number(),
  problem: z.string().nullable(),
  outcome: Outcome.nullable(),
});
type View = z.infer<typeof View>;

export type BacktestOptions = {
  policy: string;
  days: string;
  cluster?: string;
  price?: string;
  json?: boolean;
};

type Deps = {
  api: ClientApi;
  clock: Clock;
  signal: AbortSignal;
  output: { isTTY?: boolean; write(text: string): unknown };
  setExitCode(code: number): void;
};

const pollMs = 500;
const actionsShown = 20;

/** The text of a file, or the name of a shipped policy. */
export function policyText(wanted: string): string {
  if (isStrategy(wanted)) return wanted;
  if (existsSync(wanted)) return readFileSync(wanted, 'utf8');
  throw new NotFound(
    `--policy ${wanted}: there is no such file, nor a shipped policy (${strategyNames.join(', ')})`,
  );
}

async function clusterOf(api: ClientApi, wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) return wanted;
  const clusters = await allOf(api, pageOf(ClusterRow), 'clusters');
  const [only] = clusters;
  if (only && clusters.length === 1) return only.id;
  const names = clusters.map(({ id }) => id).join(', ') || 'there is none';
  throw new NotFound(`--cluster: name one of ${names}`);
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new NotFound(`--${name} ${text}: write a number`);
}

const round = (value: number, digits = 1): string => value.toFixed(digits);

function comparison({ outcome }: View & { outcome: z.infer<typeof Outcome> }): string {
  const { recorded, replayed } = outcome;
  const rows: [string, number, number, number][] = [
    ['kWh', recorded.kwh, replayed.kwh, 1],
    ['node-minutes over threshold', recorded.minutesOver, replayed.minutesOver, 0],
    ['node-hours awake', recorded.nodeHoursAwake, replayed.nodeHoursAwake, 0],
  ];
  return table(
    ['', 'as it was', 'with it'],
    rows.map(([name, was, is, digits]) => [
      name,
      number(round(was, digits)),
      number(round(is, digits)),
    ]),
  );
}

function told(view: View): string {
  const { outcome } = view;
  if (outcome === null) return `backtest ${view.id} ${view.state}: ${view.problem ?? 'no result'}`;
  const { replayed, saved, savedKwh } = outcome;
  const money =
    saved === null
      ? 'give --price, or power.pricePerKilowattHour in kernreaktor.yaml'
      : `${round(saved.amount, 2)} at ${saved.pricePerKwh} a kWh`;
  const verb = savedKwh >= 0 ? 'less' : 'more';
  const lines = [
    `${view.cluster}, ${view.from} to ${view.to}: ${round(Math.abs(savedKwh))} kWh ${verb} (${money}), ` +
      `${round(replayed.movesPerDay)} moves a day, ${round(replayed.minutesOver, 0)} minutes over threshold, ` +
      `${replayed.wakes} wakes`,
    '',
    comparison({ ...view, outcome }),
    '',
    ...outcome.resolution.map(
      ({ from, to, stepMs, source }) =>
        `${from} to ${to}: steps of ${stepMs / 1000} s from ${source}`,
    ),
    `recorded: ${round(outcome.coverage * 100)} % of the time`,
    ...outcome.assumptions.map((text) => `assumed: ${text}`),
  ];
  if (outcome.held.length > 0) lines.push('', 'What kept it from more:');
  for (const { rule, reason, rounds } of outcome.held) {
    lines.push(`  ${rounds} rounds, ${rule}: ${reason}`);
  }
  if (outcome.actionCount > 0) lines.push('', `${outcome.actionCount} actions:`);
  for (const { at, kind, reason } of outcome.actions.slice(0, actionsShown)) {
    lines.push(`  ${at} ${kind}: ${reason}`);
  }
  const rest = outcome.actionCount - actionsShown;
  if (rest > 0) lines.push(`  and ${rest} more: --json has them`);
  return lines.join('\n');
}

const pause = (clock: Clock): Promise<void> =>
  new Promise((resolve) => void clock.after(pollMs, resolve));

export async function backtest(options: BacktestOptions, deps: Deps): Promise<string> {
  const { api, clock, signal, output } = deps;
  const { days, price } = options;
  const policy = policyText(options.policy);
  const cluster = await clusterOf(api, options.cluster);
  const body = {
    cluster,
    policy,
    days: numberOf('days', days),
    ...(price !== undefined && { pricePerKwh: numberOf('price', price) }),
  };
  let view = await api.ask(View, { method: 'POST', path: '/api/v1/backtests', body });
  const path = `/api/v1/backtests/${view.id}`;
  while (view.state === 'running') {
    if (output.isTTY) output.write(`\r${Math.round(view.progress * 100)} % `);
    await pause(clock);
    view = await api.ask(View, { method: signal.aborted ? 'DELETE' : 'GET', path });
  }
  if (output.isTTY) output.write('\r');
  if (view.state !== 'done') deps.setExitCode(1);
  return options.json ? json(view) : told(view);
}
