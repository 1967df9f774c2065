/**
 * Reports of one command: their numbers and their repetition. Invariant: a number is used once
 * per command and journal and only grows, also across restarts, although most reports are never
 * journaled: each start of the daemon counts in a block of its own. Pure.
 */
import {
  guardFactsMax,
  leftMax,
  outputTailLengthMax,
  textLengthMax,
} from '../../broker/contract/limits.ts';
import type { GuardFact, Report } from '../../broker/contract/report.ts';

/** 7 days of heartbeats at 10 s fit in one block. */
const numbersPerStart = 65_536;
const handleLengthMax = 256;
const firstDelayMs = 1_000;

type Stamp = { journalId: string; incarnation: number; nowMs: number; ratio: number };
type Counted = { commandId: string; seenIncarnation: number; n: number };
type Reporting = Counted & {
  unconfirmed: readonly Report[];
  resend: { attempt: number; atMs: number } | null;
};

type Bare<R> = R extends Report ? Omit<R, 'commandId' | 'n' | 'journalId' | 'incarnation'> : never;
export type ReportBody = Bare<Report>;

const clippedFact = (fact: GuardFact): GuardFact =>
  typeof fact.value === 'string' ? { ...fact, value: fact.value.slice(0, textLengthMax) } : fact;

/**
 * Texts come from tools and drivers, and the wire bounds them. Only the fields of the report are
 * taken: what the journal could not read back would set it aside at the next start.
 */
function clipped(body: ReportBody): ReportBody {
  switch (body.step) {
    case 'started':
    case 'heartbeat':
      return { ...body, handle: body.handle?.slice(0, handleLengthMax) ?? null };
    case 'finished': {
      const { step, exitCode, postcondition } = body;
      const detail = body.detail.slice(0, textLengthMax);
      const output = body.output.slice(-outputTailLengthMax);
      const left = body.left?.slice(0, leftMax).map((line) => line.slice(0, textLengthMax));
      const rest = left?.length ? { left } : {};
      return { step, exitCode, postcondition, detail, output, ...rest };
    }
    case 'refused': {
      const { step, code } = body;
      const reason = body.reason.slice(0, textLengthMax);
      const wayOut = body.wayOut.slice(0, textLengthMax);
      const facts = body.guard?.facts.slice(0, guardFactsMax).map(clippedFact) ?? [];
      const rest = body.guard ? { guard: { ...body.guard, facts } } : {};
      return { step, code, reason, wayOut, ...rest };
    }
    case 'probed':
      return { ...body, detail: body.detail.slice(0, textLengthMax) };
    case 'accepted':
    default:
      return body;
  }
}

export function numbered(command: Counted, at: Stamp, body: ReportBody): Report {
  const { commandId, seenIncarnation } = command;
  const { journalId, incarnation } = at;
  const block = (incarnation - seenIncarnation) * numbersPerStart;
  const n = Math.max(command.n, block) + 1;
  return { commandId, n, journalId, incarnation, ...clipped(body) };
}

/** Doubles from 1 s up to `maxMs`; the jitter keeps a fleet from speaking at once. */
export function repeatDelayMs(attempt: number, ratio: number, maxMs: number): number {
  const delayMs = Math.min(firstDelayMs * 2 ** Math.min(attempt, 10), maxMs);
  return Math.round(delayMs * (0.5 + ratio / 2));
}

export const firstResend = (
  at: Pick<Stamp, 'nowMs' | 'ratio'>,
): { attempt: number; atMs: number } => ({
  attempt: 1,
  atMs: at.nowMs + repeatDelayMs(0, at.ratio, firstDelayMs),
});

export const addReport = <R extends Reporting>(command: R, report: Report, at: Stamp): R => ({
  ...command,
  n: report.n,
  unconfirmed: [...command.unconfirmed, report],
  resend: firstResend(at),
});

export const withoutReport = (reports: readonly Report[], n: number): readonly Report[] =>
  reports.filter((report) => report.n !== n);

/** What a restart must not swallow; the rest is said anew by what follows. */
export const isDurable = (report: Report): boolean =>
  report.step === 'finished' || report.step === 'refused' || report.step === 'probed';
