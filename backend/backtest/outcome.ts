/** What a backtest answers, and the sums it is made of. Pure. */
import type { Intent } from '../decide/plan.ts';
import type { CoursePoint } from './course.ts';

export type Run = {
  kwh: number;
  /** Node-minutes in which the highest load lay above the policy's threshold. */
  minutesOver: number;
  nodeHoursAwake: number;
};

export type Action = {
  atMs: number;
  kind: string;
  target: string;
  from: string | null;
  to: string | null;
  rule: string;
  reason: string;
};

/** Samples as they came, or their means and maxima by minute or hour. */
export type Source = 'raw' | '1m' | '1h';

export type Resolution = { fromMs: number; toMs: number; stepMs: number; source: Source };

export type Outcome = {
  cluster: string;
  fromMs: number;
  toMs: number;
  /** As it was, by the same watts; what meters said beside it, where all awake nodes had one. */
  recorded: Run & { measuredKwh: number | null };
  /** As this policy would have had it, acting by itself. */
  replayed: Run & { moves: number; movesPerDay: number; wakes: number; sleeps: number };
  savedKwh: number;
  saved: { amount: number; pricePerKwh: number } | null;
  actions: Action[];
  /** Of which `actions` are the first. */
  actionCount: number;
  /** What kept it from doing more: in how many rounds which reason was given. */
  held: { rule: string; reason: string; rounds: number }[];
  /** How the sums grew, for charts. */
  course: CoursePoint[];
  resolution: Resolution[];
  /** Share of the time for which any node told anything. */
  coverage: number;
  assumptions: string[];
};

const actionsMax = 2_000;
const heldMax = 12;
const joulesPerKwh = 3_600_000;

export const emptyRun = (): Run => ({ kwh: 0, minutesOver: 0, nodeHoursAwake: 0 });

/** Books one node for one step. `hours` of the world, not of the wall. */
export function book(run: Run, watts: number, hours: number, more: { on: boolean; over: boolean }) {
  run.kwh += (watts * hours * 3_600) / joulesPerKwh;
  if (more.on) run.nodeHoursAwake += hours;
  if (more.over) run.minutesOver += hours * 60;
}

export class Tally {
  readonly actions: Action[] = [];
  count = 0;
  moves = 0;
  wakes = 0;
  sleeps = 0;
  private readonly reasons = new Map<string, { rule: string; reason: string; rounds: number }>();

  act(intent: Pick<Intent, 'action' | 'target' | 'executor' | 'rule' | 'reason'>, atMs: number) {
    const { action, target, executor, rule, reason } = intent;
    const isMove = action.kind === 'guest.migrate';
    this.count += 1;
    if (isMove) this.moves += 1;
    if (action.kind === 'node.wake') this.wakes += 1;
    if (action.kind === 'node.shutdown') this.sleeps += 1;
    if (this.actions.length >= actionsMax) return;
    this.actions.push({
      atMs,
      kind: action.kind,
      target: target.id,
      from: isMove ? executor : null,
      to: isMove ? action.args.targetNode : null,
      rule,
      reason,
    });
  }

  /** Reasons that differ by their numbers alone are one. */
  hold(rule: string, reason: string): void {
    const key = `${rule} ${reason.replaceAll(/\d+(?:\.\d+)?/g, '#')}`;
    const known = this.reasons.get(key);
    if (known) known.rounds += 1;
    else this.reasons.set(key, { rule, reason, rounds: 1 });
  }

  held = () => [...this.reasons.values()].sort((a, b) => b.rounds - a.rounds).slice(0, heldMax);
}
