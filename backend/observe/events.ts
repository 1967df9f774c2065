/**
 * What was decided and done, as points of the metrics store, so that a graph can be annotated:
 * each plan, each step of a command, each HOLD and each refusal. A copy for pictures; the audit is
 * the record. Bounded and never in anybody's way: what the store does not take waits, and what no
 * longer fits falls out at the old end and is counted.
 */
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import type { Commands } from '../act/commands.ts';
import type { CommandEvent } from '../act/step.ts';
import type { Decision } from '../round.ts';
import type { MetricsEvent, MetricsStore } from '../store/ports.ts';

const flushEveryMs = 1_000;
const retryEveryMs = 10_000;
/** An hour of three a second. */
const queueMax = 10_000;
const textMax = 512;

export type EventRecorder = {
  command(event: CommandEvent): void;
  decision(decision: Pick<Decision, 'id' | 'cluster' | 'at_ms' | 'outcome' | 'summary'>): void;
  record(event: Omit<MetricsEvent, 'atMs'> & { atMs?: number }): void;
  figures(): { eventsQueued: number; eventsDropped: number };
  /** Writes what waits, once. */
  stop(): Promise<void>;
};

export type EventRecorderDeps = {
  store: Pick<MetricsStore, 'writeEvents'>;
  clock: Clock;
  log: Log;
};

/** Points with the same tags and time are one point, so no two of ours share both. */
function createStamps() {
  const lastMs = new Map<string, number>();
  return ({ cluster, kind, outcome, atMs }: MetricsEvent): number => {
    const key = `${cluster}\n${kind}\n${outcome}`;
    const stampMs = Math.max(atMs, (lastMs.get(key) ?? -Infinity) + 1);
    // A clock set back by hours must not pile everything up at its old end.
    const nextMs = stampMs - atMs > 60_000 ? atMs : stampMs;
    lastMs.set(key, nextMs);
    return nextMs;
  };
}

export function createEventRecorder({ store, clock, log }: EventRecorderDeps): EventRecorder {
  const stampOf = createStamps();
  let queue: MetricsEvent[] = [];
  let eventsDropped = 0;
  let isFailing = false;
  let cancel: Cancel | null = null;

  async function flush(): Promise<void> {
    const batch = queue;
    queue = [];
    try {
      await store.writeEvents(batch);
      isFailing = false;
    } catch (error) {
      if (!isFailing) log.warn({ err: error, events: batch.length }, 'events not stored yet');
      isFailing = true;
      queue = [...batch, ...queue];
      bound();
    }
  }

  function bound(): void {
    const over = queue.length - queueMax;
    if (over <= 0) return;
    queue.splice(0, over);
    eventsDropped += over;
  }

  function flushLater(): void {
    if (cancel !== null || queue.length === 0) return;
    cancel = clock.after(isFailing ? retryEveryMs : flushEveryMs, async () => {
      await flush();
      cancel = null;
      flushLater();
    });
  }

  function record(event: Omit<MetricsEvent, 'atMs'> & { atMs?: number }): void {
    const stamped = { ...event, atMs: event.atMs ?? clock.wallMs() };
    const text = event.text.slice(0, textMax);
    queue.push({ ...stamped, atMs: stampOf(stamped), text });
    bound();
    flushLater();
  }

  return {
    record,
    command: ({ id, cluster, kind, state, atMs, reason, node, guest }) =>
      record({ id, cluster, kind, outcome: state, atMs, node, guest, text: reason ?? '' }),
    decision: ({ id, cluster, at_ms: atMs, outcome, summary }) =>
      record({ id, cluster, kind: 'plan', outcome, atMs, node: null, guest: null, text: summary }),
    figures: () => ({ eventsQueued: queue.length, eventsDropped }),
    async stop() {
      cancel?.();
      if (queue.length > 0) await flush();
    },
  };
}

/** Of every cluster: an id no cluster can have. */
const everything = '*';

/** The command face with its refusals and HOLDs recorded; what it does is unchanged. */
export const recorded = (commands: Commands, recorder: EventRecorder): Commands => ({
  ...commands,
  async submit(submission) {
    const submitted = await commands.submit(submission);
    // A name that is no cluster's must not become one in the store.
    if (submitted.ok || submitted.refusal.status === 404) return submitted;
    const { cluster, kind, node, guest = null } = submission;
    const { code, detail } = submitted.refusal;
    const text = `${code}: ${detail}`;
    recorder.record({ cluster, kind, outcome: 'refused', node, guest, text, id: null });
    return submitted;
  },
  async setHold(order) {
    const held = await commands.setHold(order);
    if (!held.ok) return held;
    recorder.record({
      cluster: order.cluster ?? everything,
      kind: 'hold',
      outcome: order.hold ? 'set' : 'released',
      node: null,
      guest: null,
      text: order.reason ?? '',
      id: null,
    });
    return held;
  },
});
