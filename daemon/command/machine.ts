/**
 * One command in the executor, as a pure machine. Invariants: nothing starts without a grant that
 * repeats the nonce of a claim less than 10 s old; `perform` is asked for exactly once, after the
 * effect `journal` of STARTED, which the caller makes durable before it goes on; finished and
 * refused are final. It must never ask to perform a command it was recovered with.
 *
 *   unseen --offer--> received --guards ok--> claiming --grant--> granted --guards ok--> started
 *      |                 |                     |  ^ |                |                      |
 *      |                 |          new nonce  +--+ |                |            tool ended, or
 *      | asked for it    | denied, HOLD             | ttl over,      | denied     after a crash:
 *      | as executor     |                          | server's word  |            observed
 *      v                 v                          v                v                      v
 *   refused <------------+--------------------------+----------------+                  finished
 *   (tombstone)
 *
 * A crash turns claiming and granted back into received: a nonce does not outlive its process.
 * `witness` stands aside: it looks at the world for another executor's command.
 */
import type { GrantContent, Offer } from '../../broker/contract/command.ts';
import { grantWindowMs, heartbeatIntervalMs } from '../../broker/contract/limits.ts';
import {
  type Command,
  common,
  type Effect,
  expired,
  type In,
  type Input,
  type Moment,
  type Outcome,
  refuse,
  repeatOutcome,
  type Step,
  unseen,
} from './command-state.ts';
import { addReport, firstResend, numbered, repeatDelayMs } from './reports.ts';
import { judged, observed, probed, synced } from './server-word.ts';

function offered(command: Command | undefined, offer: Offer, at: Moment): Step | undefined {
  const voidAtMs = at.nowMs + offer.ttlMs;
  if (!command || command.phase === 'witness') {
    const base = command ? common(command) : unseen(at, at.incarnation);
    const received: Command = { ...base, phase: 'received', offer, voidAtMs };
    return { command: received, effects: [{ type: 'journal' }, { type: 'check' }] };
  }
  switch (command.phase) {
    case 'received':
      // The first offer since a restart; otherwise its guards are at work already.
      return {
        command: { ...command, voidAtMs: Math.max(voidAtMs, command.voidAtMs ?? 0) },
        effects: command.voidAtMs === null ? [{ type: 'check' }] : [],
      };
    case 'claiming':
      return {
        command: { ...command, voidAtMs: Math.max(voidAtMs, command.voidAtMs) },
        effects: [],
      };
    case 'finished':
    case 'refused':
      return repeatOutcome(command, at);
    case 'granted':
    case 'started':
    default:
      return undefined;
  }
}

function checked(
  command: Command,
  { denial, bootId }: Extract<Input, { type: 'checked' }>,
  at: Moment,
): Step | undefined {
  if (command.phase === 'received') {
    if (denial) return refuse(common(command), denial, at);
    const { offer, voidAtMs } = command;
    if (voidAtMs === null) return undefined;
    const claiming: In<'claiming'> = {
      ...common(command),
      phase: 'claiming',
      offer,
      voidAtMs,
      nonce: at.nonce,
      bootId,
      claimedAtMs: at.nowMs,
      repeat: { attempt: 1, atMs: at.nowMs + repeatDelayMs(0, at.ratio, grantWindowMs) },
    };
    return { command: claiming, effects: [{ type: 'claim' }] };
  }
  if (command.phase !== 'granted') return undefined;
  if (denial) return refuse(common(command), denial, at);
  const report = numbered(command, at, { step: 'started', handle: null });
  const started: In<'started'> = {
    ...addReport(common(command), report, at),
    phase: 'started',
    grant: command.grant,
    handle: null,
    bootId,
    heartbeatAtMs: at.nowMs + heartbeatIntervalMs,
  };
  return {
    command: started,
    effects: [{ type: 'journal' }, { type: 'report', report }, { type: 'perform' }],
  };
}

function granted(command: Command, grant: GrantContent, at: Moment): Step | undefined {
  if (command.phase !== 'claiming' || grant.nonce !== command.nonce) return undefined;
  if (at.nowMs - command.claimedAtMs > grantWindowMs) return undefined;
  const report = numbered(command, at, { step: 'accepted' });
  return {
    command: {
      ...addReport(common(command), report, at),
      phase: 'granted',
      offer: command.offer,
      grant,
    },
    effects: [{ type: 'report', report }, { type: 'check' }],
  };
}

function ended(command: Command, outcome: Outcome, at: Moment): Step | undefined {
  if (command.phase !== 'started') return undefined;
  const report = numbered(command, at, { step: 'finished', ...outcome });
  const { grant, handle, bootId } = command;
  const finished: In<'finished'> = {
    ...addReport(common(command), report, at),
    phase: 'finished',
    grant,
    handle,
    bootId,
    outcome: report,
  };
  return { command: finished, effects: [{ type: 'journal' }, { type: 'report', report }] };
}

function named(command: Command, handle: string, at: Moment): Step | undefined {
  if (command.phase !== 'started' || command.handle === handle) return undefined;
  const report = numbered(command, at, { step: 'started', handle });
  return {
    command: { ...command, ...addReport(common(command), report, at), handle },
    effects: [{ type: 'journal' }, { type: 'report', report }],
  };
}

/** A claim keeps its nonce while an answer to it would still have time to be valid. */
function claimAgain(command: In<'claiming'>, at: Moment): Step {
  const { attempt } = command.repeat;
  const isOld = at.nowMs - command.claimedAtMs > grantWindowMs / 2;
  const atMs = at.nowMs + repeatDelayMs(attempt, at.ratio, grantWindowMs);
  const fresh = isOld ? { nonce: at.nonce, claimedAtMs: at.nowMs } : {};
  return {
    command: { ...command, ...fresh, repeat: { attempt: attempt + 1, atMs } },
    effects: [{ type: 'claim' }],
  };
}

const resendMaxMs = 30_000;

function due(command: Command, at: Moment): Step | undefined {
  const hasExpiry = command.phase === 'received' || command.phase === 'claiming';
  if (hasExpiry && command.voidAtMs !== null && at.nowMs >= command.voidAtMs) {
    return refuse(common(command), expired, at);
  }
  if (command.phase === 'claiming' && at.nowMs >= command.repeat.atMs) {
    return claimAgain(command, at);
  }
  if (command.phase === 'started' && at.nowMs >= command.heartbeatAtMs) {
    const { handle } = command;
    const report = numbered(command, at, { step: 'heartbeat', handle, progressRatio: null });
    const heartbeatAtMs = at.nowMs + heartbeatIntervalMs;
    return {
      command: { ...command, n: report.n, heartbeatAtMs },
      effects: [{ type: 'report', report }],
    };
  }
  if (command.resend && at.nowMs >= command.resend.atMs) {
    const { attempt } = command.resend;
    const atMs = at.nowMs + repeatDelayMs(attempt, at.ratio, resendMaxMs);
    return {
      command: { ...command, resend: { attempt: attempt + 1, atMs } },
      effects: command.unconfirmed.map((report) => ({ type: 'report', report })),
    };
  }
  return undefined;
}

/** A new session: what was said into the old one may be lost. */
function online(command: Command, at: Moment): Step | undefined {
  const effects: Effect[] = command.unconfirmed.map((report) => ({ type: 'report', report }));
  const resend = effects.length > 0 ? firstResend(at) : null;
  if (command.phase === 'claiming') {
    const again = claimAgain({ ...command, resend, repeat: { attempt: 0, atMs: 0 } }, at);
    return { command: again.command, effects: [...effects, ...again.effects] };
  }
  return effects.length > 0 ? { command: { ...command, resend }, effects } : undefined;
}

/** undefined: this input means nothing in this state, and nothing changes. */
export function step(command: Command | undefined, input: Input, at: Moment): Step | undefined {
  switch (input.type) {
    case 'offered':
      return offered(command, input.offer, at);
    case 'probed':
      return probed(command, input, at);
    case 'synced':
      return synced(command, input.state, at);
    case 'checked':
      return command && checked(command, input, at);
    case 'granted':
      return command && granted(command, input.grant, at);
    case 'handle':
      return command && named(command, input.handle, at);
    case 'ended':
      return command && ended(command, input.outcome, at);
    case 'observed':
      return command && observed(command, input, at);
    case 'verdict':
      return command && judged(command, input.verdict, at);
    case 'online':
      return command && online(command, at);
    case 'due':
    default:
      return command && due(command, at);
  }
}
