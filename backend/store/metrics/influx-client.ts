/**
 * Our one use of the InfluxDB client: a request to write that says what became of its lines, a
 * query as rows, and the helpers that escape values for Flux and line protocol.
 */
import { HttpError, InfluxDB, type ParameterizedQuery } from '@influxdata/influxdb-client';

export {
  escape,
  flux,
  fluxDateTime,
  fluxDuration,
  fluxExpression,
} from '@influxdata/influxdb-client';
export type { ParameterizedQuery };

export type InfluxOptions = { url: string; token: string; org: string; bucket: string };

/**
 * Lines of one request: 275 bytes each, 1.4 MB before and 0.4 MB after compression, 0.6 s of 2048
 * nodes x 20 guests. InfluxDB's own recommendation.
 */
export const linesPerRequest = 5_000;
/** A request of that size is stored in well below a second; a server that takes 10 s is down. */
const requestTimeoutMs = 10_000;
/** Requests spent on finding the lines of one batch that a server refuses: 2 x 12 finds one. */
const searchRequestsMax = 64;

/**
 * The client's own buffering is off, since it neither bounds what is in flight nor says what
 * became of a batch, and ingest keeps the samples until it knows: one request per flush
 * (batchSize above what we hand it, no flush by time), no repetition behind our back
 * (maxRetries 0, so its retry buffer, 32 000 lines or 3.7 s of our load, stays empty).
 */
const writeOptions = {
  batchSize: linesPerRequest + 1,
  maxBatchBytes: 50_000_000,
  flushInterval: 0,
  maxRetries: 0,
  maxBufferLines: linesPerRequest + 1,
  /** Level 6 costs 29 ms of a pool thread per request and saves two thirds of the bytes. */
  gzipThreshold: 1_000,
};

/** Lines the server will never take, and what it said. */
export type Refused = { lines: number; expired: number; detail: string | null };

export type InfluxClient = {
  influx: InfluxDB;
  /**
   * Resolves when the server has accepted every line of at most `linesPerRequest`, but those it
   * refuses for ever. @throws when it may take them later.
   */
  send(bucket: string, lines: readonly string[]): Promise<Refused>;
  query(query: ParameterizedQuery | string): Promise<Record<string, unknown>[]>;
};

const textOf = (error: HttpError): string => `${error.message} ${error.body ?? ''}`;

/** Influx keeps what it can of a batch and says how many points it left out. */
function partlyWritten(error: HttpError): Refused | undefined {
  const text = textOf(error);
  const isPartial = /partial write|beyond retention|outside.*retention/i.test(text);
  if (!isPartial) return undefined;
  const lines = Number(/dropped=(\d+)/.exec(text)?.[1] ?? 1);
  const detail = text.trim().slice(0, 256);
  return /retention/i.test(text)
    ? { lines: 0, expired: lines, detail: null }
    : { lines, expired: 0, detail };
}

/** 400 and 422 speak of the lines, 413 of their number; all else may pass. */
const isAboutLines = (error: unknown): error is HttpError =>
  error instanceof HttpError && [400, 413, 422].includes(error.statusCode);

/**
 * How long the server asks us to wait, 0 when it does not say. The client hands the header on as
 * a bare number, which counts seconds; a date it leaves out.
 */
export function retryAfterMs(error: unknown, wallMs: number): number {
  if (!(error instanceof HttpError)) return 0;
  const header = error.headers?.['retry-after'];
  const text = Array.isArray(header) ? header[0] : header;
  const atMs = text === undefined || /^\d+$/.test(text) ? NaN : Date.parse(text);
  return Number.isNaN(atMs) ? error.retryAfter() * 1_000 : Math.max(0, atMs - wallMs);
}

type Post = (lines: readonly string[]) => Promise<void>;

const sum = (a: Refused, b: Refused): Refused => ({
  lines: a.lines + b.lines,
  expired: a.expired + b.expired,
  detail: a.detail ?? b.detail,
});

/**
 * Halves a refused batch until the lines at fault stand alone, so that one bad line never costs
 * the others, nor holds the queue up for ever.
 */
async function sendOrSplit(
  post: Post,
  lines: readonly string[],
  budget: { requests: number },
): Promise<Refused> {
  budget.requests -= 1;
  try {
    await post(lines);
    return { lines: 0, expired: 0, detail: null };
  } catch (error) {
    if (!isAboutLines(error)) throw error;
    const partly = partlyWritten(error);
    if (partly) return partly;
    if (lines.length === 1 || budget.requests <= 0) {
      return { lines: lines.length, expired: 0, detail: textOf(error).trim().slice(0, 256) };
    }
    const middle = lines.length >>> 1;
    const first = await sendOrSplit(post, lines.slice(0, middle), budget);
    return sum(first, await sendOrSplit(post, lines.slice(middle), budget));
  }
}

export function connectInflux({ url, token, org }: InfluxOptions): InfluxClient {
  const influx = new InfluxDB({ url, token, timeout: requestTimeoutMs });
  const queryApi = influx.getQueryApi(org);
  const postTo =
    (bucket: string): Post =>
    async (lines) => {
      const writeApi = influx.getWriteApi(org, bucket, 'ms', {
        ...writeOptions,
        // Answering a promise keeps the client from logging to the console and from repeating.
        writeFailed: async (error) => {
          throw error;
        },
      });
      try {
        writeApi.writeRecords([...lines]);
        await writeApi.flush();
      } finally {
        writeApi.dispose();
      }
    };
  return {
    influx,
    send: (bucket, lines) => sendOrSplit(postTo(bucket), lines, { requests: searchRequestsMax }),
    query: (query) => queryApi.collectRows<Record<string, unknown>>(query),
  };
}
