/**
 * Lines on their way to the server: sent at once while it takes them, else kept in the spool and
 * sent oldest first when it does again. `deliver` resolves when the lines are durable in either
 * place. A server that asks for time (Retry-After) gets it. What the server refuses for ever is
 * counted and said in the log, at most once a minute.
 */
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';
import { type Accepted, createAccepted } from './accepted.ts';
import { MetricsWriteError } from './errors.ts';
import { type InfluxClient, linesPerRequest, type Refused, retryAfterMs } from './influx-client.ts';
import type { Spool, SpoolBatch, SpoolFigures } from './spool.ts';

/** More only moves the queue from here to the server. */
const requestsInFlightMax = 3;
const drainEveryMs = 1_000;
const backoffMaxMs = 30_000;
const retryAfterMaxMs = 300_000;
const logEveryMs = 60_000;

export type DeliveryOptions = {
  client: InfluxClient;
  spool: Spool | null;
  clock: Clock;
  log: Log;
  /** These came late, from the spool, and are stored now. */
  onDrained: (lines: readonly string[]) => void;
};

export type DeliveryFigures = {
  refusedLines: number;
  expiredLines: number;
  failures: number;
  spoolBytes: number;
  spoolSamples: number;
  spoolDropped: number;
};

export type Delivery = {
  /** @throws MetricsWriteError when the lines are durable nowhere. */
  deliver(batch: SpoolBatch): Promise<void>;
  figures(): DeliveryFigures;
  /** The last failure while it lasts. */
  failure(): string | null;
  /** Stops sending; the spool keeps what it has. */
  close(): Promise<void>;
};

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}`.slice(0, 512) : String(error);

const chunks = (lines: readonly string[]): (readonly string[])[] =>
  Array.from({ length: Math.ceil(lines.length / linesPerRequest) }, (_, index) =>
    lines.slice(index * linesPerRequest, (index + 1) * linesPerRequest),
  );

const nothing: SpoolFigures = { bytes: 0, samples: 0, dropped: 0 };

type State = {
  options: DeliveryOptions;
  counts: { refusedLines: number; expiredLines: number; failures: number };
  accepted: Accepted;
  lastFailure: string | null;
  failuresInARow: number;
  notBeforeMs: number;
  refusalLoggedMs: number;
  isClosed: boolean;
  draining: Promise<void> | null;
  cancelDrain: Cancel | null;
};

function refused(state: State, { lines, expired, detail }: Refused): void {
  const { clock, log } = state.options;
  state.counts.refusedLines += lines;
  state.counts.expiredLines += expired;
  const nowMs = clock.monotonicMs();
  if (lines === 0 || nowMs - state.refusalLoggedMs < logEveryMs) return;
  state.refusalLoggedMs = nowMs;
  log.error({ lines, detail }, 'InfluxDB refuses lines for ever; they are not stored');
}

type Lines = Pick<SpoolBatch, 'bucket' | 'lines'>;

async function sendAll(state: State, { bucket, lines }: Lines): Promise<void> {
  const requests = chunks(lines);
  const worker = async (): Promise<void> => {
    for (let next = requests.shift(); next; next = requests.shift()) {
      refused(state, await state.options.client.send(bucket, next));
    }
  };
  // All settle before we answer: a request still under way must not overlap the repetition.
  const ends = await Promise.allSettled(Array.from({ length: requestsInFlightMax }, worker));
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure) throw failure.reason;
  state.lastFailure = null;
  state.failuresInARow = 0;
}

function failed(state: State, error: unknown): void {
  const { clock, log, spool } = state.options;
  state.counts.failures += 1;
  state.failuresInARow += 1;
  const backoffMs = Math.min(backoffMaxMs, 500 * 2 ** Math.min(state.failuresInARow, 10));
  const askedMs = Math.min(retryAfterMaxMs, retryAfterMs(error, clock.wallMs()));
  state.notBeforeMs = clock.monotonicMs() + Math.max(askedMs, backoffMs);
  if (state.lastFailure === null && spool !== null) {
    log.warn({ err: error }, 'InfluxDB does not take samples; they are kept in the spool');
  }
  state.lastFailure = messageOf(error);
}

/** Sends what the spool holds until it is empty or the server fails again. */
async function drain(state: State, spool: Spool): Promise<void> {
  const { log, onDrained } = state.options;
  let samples = 0;
  for (let next = await spool.oldest(); next !== null; next = await spool.oldest()) {
    if (state.isClosed) return;
    try {
      await sendAll(state, next);
    } catch (error) {
      failed(state, error);
      return;
    }
    await next.done();
    onDrained(next.lines);
    samples += next.samples;
  }
  log.info({ samples }, 'the spool is empty again');
}

function drainLater(state: State, spool: Spool): void {
  const { clock, log } = state.options;
  if (state.cancelDrain !== null || state.isClosed) return;
  state.cancelDrain = clock.after(drainEveryMs, async () => {
    state.cancelDrain = null;
    if (clock.monotonicMs() >= state.notBeforeMs) {
      state.draining = drain(state, spool).catch((error: unknown) => {
        failed(state, error);
        log.error({ err: error }, 'the spool cannot be read; check the disk of KR_DATA_DIR');
      });
      await state.draining;
      state.draining = null;
    }
    if (!spool.isEmpty()) drainLater(state, spool);
  });
}

/** An answer of any kind is that of a server which lives, and has lost nothing. */
const isGone = (error: unknown): boolean =>
  error instanceof Error && (error as { statusCode?: number }).statusCode === undefined;

/** What a server that is gone may have taken with it. */
const forgotten = ({ accepted, options }: State, cause: unknown): SpoolBatch[] =>
  isGone(cause) ? accepted.take(options.clock.monotonicMs()) : [];

async function keep(state: State, batch: SpoolBatch, cause: unknown): Promise<void> {
  const { spool } = state.options;
  // After closing nobody else watches the folder; whoever sent it keeps it.
  if (spool === null || state.isClosed) {
    throw new MetricsWriteError(`InfluxDB did not take it: ${messageOf(cause)}`, cause);
  }
  try {
    for (const each of [...forgotten(state, cause), batch]) await spool.append(each);
  } catch (error) {
    const hint = `neither InfluxDB (${messageOf(cause)}) nor the spool (${messageOf(error)})`;
    throw new MetricsWriteError(`${hint} took it`, error);
  }
  drainLater(state, spool);
}

export function createDelivery(options: DeliveryOptions): Delivery {
  const { spool } = options;
  const state: State = {
    options,
    counts: { refusedLines: 0, expiredLines: 0, failures: 0 },
    accepted: createAccepted(),
    lastFailure: null,
    failuresInARow: 0,
    notBeforeMs: 0,
    refusalLoggedMs: -Infinity,
    isClosed: false,
    draining: null,
    cancelDrain: null,
  };
  if (spool !== null && !spool.isEmpty()) drainLater(state, spool);
  return {
    async deliver(batch) {
      // Behind what waits already: the server would take it, and then be asked for two things.
      if (spool !== null && !spool.isEmpty()) return keep(state, batch, state.lastFailure);
      try {
        await sendAll(state, batch);
        if (spool !== null) state.accepted.add(batch, options.clock.monotonicMs());
      } catch (error) {
        failed(state, error);
        await keep(state, batch, error);
      }
    },
    figures() {
      const { bytes, samples, dropped } = spool?.figures() ?? nothing;
      return { ...state.counts, spoolBytes: bytes, spoolSamples: samples, spoolDropped: dropped };
    },
    failure: () => state.lastFailure,
    async close() {
      state.isClosed = true;
      state.cancelDrain?.();
      await state.draining;
    },
  };
}
