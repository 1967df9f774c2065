/**
 * Fills what this daemon itself has missed from what the hypervisor kept: after a start, and after
 * a pause in which no sample could be taken. Only points between the last sample before and the
 * first one after are taken, each marked as filled in, with its own time, at the slow pace of a
 * replay. The past is never invented: where the hypervisor kept nothing, the gap stays.
 */
import type { Telemetry } from '../../broker/contract/telemetry.ts';
import type { PastSample, PastSpan } from '../hypervisor/port.ts';
import type { Agent, NodeState } from './agent.ts';
import { markEveryMs } from './marks.ts';

/** Shorter pauses are a beat that came late. */
const gapMinMs = 30_000;
/** The rest of a gap is asked in parts, so that no answer grows without bound. */
const sliceMs = 300_000;
/** Half of the hypervisor's own step: a point so near to a sample of ours is the same moment. */
const nearMs = 5_000;
/** How far apart the hypervisor's own samples are. */
const pastStepMs = 10_000;
/** Longer than any hypervisor keeps it. */
const pastMaxMs = 3_600_000;

type KeepPast = (past: Omit<Telemetry, 'incarnation'>) => void;

function mark(agent: Agent, state: NodeState, atMs: number, isLast: boolean): void {
  const { marks, log } = agent.deps;
  if (!marks || (!isLast && atMs - state.markedAtMs < markEveryMs)) return;
  state.markedAtMs = atMs;
  marks
    .write(state.node, { atMs, isLast })
    .catch((error: unknown) => log.warn({ err: error }, 'until when was sampled is not written'));
}

export function markLast(agent: Agent): void {
  for (const state of agent.nodes.values()) {
    if (state.sampledAtMs !== null) mark(agent, state, state.sampledAtMs, true);
  }
}

const pause = (agent: Agent): Promise<void> =>
  new Promise((resolve) => {
    agent.deps.clock.after(agent.settings.replayEveryMs, resolve);
  });

async function fill(agent: Agent, state: NodeState, span: PastSpan, keep: KeepPast) {
  const { hypervisor, log } = agent.deps;
  const { versions } = state;
  if (versions === null) return;
  let count = 0;
  for (let afterMs = span.afterMs; afterMs < span.beforeMs; afterMs += sliceMs) {
    // Half open at the seam, so that a point on it is in one slice alone.
    const beforeMs = Math.min(span.beforeMs, afterMs + sliceMs + 1);
    const past: readonly PastSample[] =
      (await hypervisor.history?.(state.node, { afterMs, beforeMs })) ?? [];
    for (const { atMs, node, guests } of past) {
      await pause(agent);
      if (agent.isStopped) return;
      const own = { sampledAtMs: atMs, intervalMs: pastStepMs, node, guests, versions };
      keep({ ...own, membersOnline: null, backfilled: true });
      count += 1;
    }
  }
  if (count > 0) log.info({ node: state.node, samples: count }, 'missed samples were filled in');
}

/** Told of every sample that was taken; `keep` takes one of the past. */
export function noticeGap(agent: Agent, state: NodeState, atMs: number, keep: KeepPast): void {
  const { hypervisor, log } = agent.deps;
  if (!hypervisor.history) return;
  const before = state.sampledAtMs;
  state.sampledAtMs = atMs;
  mark(agent, state, atMs, false);
  if (before === null || atMs - before < Math.max(gapMinMs, 3 * state.intervalMs)) return;
  const span = {
    afterMs: Math.max(before, atMs - pastMaxMs) + nearMs,
    beforeMs: atMs - nearMs,
  };
  fill(agent, state, span, keep).catch((error: unknown) =>
    log.warn({ node: state.node, err: error }, 'what was missed could not be asked for'),
  );
}
