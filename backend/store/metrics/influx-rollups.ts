/**
 * What InfluxDB needs beside a place for raw samples: buckets with their retention, and the tasks
 * that fill the roll-ups. Made at the start and tried again until they are; what an administrator
 * changed in an existing bucket is left as it is. Samples that come after their window was rolled
 * up make that window's hour be rolled up again.
 */
import { BucketsAPI, OrgsAPI, TasksAPI } from '@influxdata/influxdb-client-apis';
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';
import { bucketOf, rollupFlux, rollupTask, taskName } from './flux.ts';
import { stepOf } from './grid.ts';
import type { InfluxClient } from './influx-client.ts';
import { dayMs, hourMs, minuteMs, retentionMs, type Resolution } from './sources.ts';

const resolutions = ['1m', '1h'] as const satisfies readonly Resolution[];
const repeatMs = 60_000;
/** The tasks themselves look that far back. */
const lateMs = 2.5 * minuteMs;
/** After the last late sample: a replay of an hour comes within seconds. */
const quietMs = 30_000;

export type RollupOptions = {
  client: InfluxClient;
  org: string;
  bucket: string;
  retentionDays: number;
  /** False: another process does. */
  makesBuckets: boolean;
  clock: Clock;
  log: Log;
};

export type Rollups = {
  /** Up to where each resolution can be relied on; 0 while there is none. */
  until(): Record<Resolution, number>;
  /** Samples of these times are stored just now. */
  stored(timesMs: readonly number[]): void;
  figures(): { lateHours: number; isReady: number };
  close(): void;
};

type Seconds = { name: string; everySeconds: number };

async function hasBucket({ client, org }: RollupOptions, name: string): Promise<boolean> {
  const { buckets = [] } = await new BucketsAPI(client.influx)
    .getBuckets({ org, name })
    .catch((error: unknown) => {
      // InfluxDB answers 404 for a name that no bucket has.
      if ((error as { statusCode?: number }).statusCode === 404) return { buckets: [] };
      throw error;
    });
  return buckets.length > 0;
}

async function ensureBucket(
  options: RollupOptions,
  orgID: string,
  { name, everySeconds }: Seconds,
) {
  if (await hasBucket(options, name)) return;
  const retentionRules = [{ type: 'expire' as const, everySeconds }];
  const api = new BucketsAPI(options.client.influx);
  await api.postBuckets({ body: { orgID, name, retentionRules } });
}

async function ensureTask(options: RollupOptions, orgID: string, resolution: Resolution) {
  const api = new TasksAPI(options.client.influx);
  const rollup = { bucket: options.bucket, resolution };
  const flux = rollupTask(rollup);
  const { tasks = [] } = await api.getTasks({ org: options.org, name: taskName(rollup) });
  const [known] = tasks;
  if (!known) await api.postTasks({ body: { orgID, flux } });
  else if (known.flux !== flux) await api.patchTasksID({ taskID: known.id, body: { flux } });
}

async function awaitBuckets(options: RollupOptions): Promise<void> {
  for (const resolution of resolutions) {
    const name = bucketOf(options.bucket, resolution);
    if (!(await hasBucket(options, name))) throw new Error(`the backend has not made ${name} yet`);
  }
}

async function prepare(options: RollupOptions): Promise<void> {
  const { client, org, bucket, retentionDays } = options;
  if (!options.makesBuckets) return awaitBuckets(options);
  const { orgs = [] } = await new OrgsAPI(client.influx).getOrgs({ org });
  const orgID = orgs[0]?.id;
  if (orgID === undefined) throw new Error(`there is no organization ${org}; set KR_INFLUX_ORG`);
  const raw = { name: bucket, everySeconds: (retentionDays * dayMs) / 1_000 };
  await ensureBucket(options, orgID, raw);
  for (const resolution of resolutions) {
    const name = bucketOf(bucket, resolution);
    await ensureBucket(options, orgID, { name, everySeconds: retentionMs[resolution] / 1_000 });
    await ensureTask(options, orgID, resolution);
  }
}

export function startRollups(options: RollupOptions): Rollups {
  const { client, clock, log, bucket } = options;
  /** Starts of hours, and when the last late sample of each came. */
  const late = new Map<number, number>();
  let isReady = false;
  let isWarned = false;
  let isClosed = false;
  let cancel: Cancel = () => undefined;

  async function tryPrepare(): Promise<void> {
    try {
      await prepare(options);
      isReady = true;
      log.info({ bucket }, 'buckets and roll-up tasks are in place');
    } catch (error) {
      const wayOut =
        'give KR_INFLUX_TOKEN the right to read and write buckets and tasks of its organization, ' +
        'or make them as docs/telemetry.md says; raw samples are stored all the same';
      if (!isWarned) log.warn({ err: error, wayOut }, 'no roll-ups yet, tried again every minute');
      isWarned = true;
    }
  }

  async function rollUp(fromMs: number): Promise<void> {
    for (const resolution of resolutions) {
      for (const text of rollupFlux({ bucket, resolution }, fromMs, fromMs + hourMs)) {
        await client.query(text);
      }
    }
  }

  async function rollUpLate(): Promise<void> {
    const nowMs = clock.monotonicMs();
    for (const [hour, atMs] of late) {
      // The hour that still runs is rolled up by its tasks as far as they have come.
      if (nowMs - atMs < quietMs || isClosed) continue;
      late.delete(hour);
      try {
        await rollUp(hour);
      } catch (error) {
        late.set(hour, nowMs);
        log.warn({ err: error, hour: new Date(hour).toISOString() }, 'late samples not rolled up');
        return;
      }
    }
  }

  const loop = (delayMs: number): void => {
    cancel = clock.after(delayMs, async () => {
      if (isReady) await rollUpLate();
      else await tryPrepare();
      if (!isClosed) loop(isReady ? quietMs : repeatMs);
    });
  };
  loop(0);

  return {
    until() {
      const nowMs = clock.wallMs();
      return isReady
        ? { '1m': nowMs - 5 * minuteMs, '1h': stepOf(nowMs - 10 * minuteMs, hourMs) }
        : { '1m': 0, '1h': 0 };
    },
    stored(timesMs) {
      const lateBeforeMs = clock.wallMs() - lateMs;
      for (const timeMs of timesMs) {
        if (timeMs < lateBeforeMs) late.set(stepOf(timeMs, hourMs), clock.monotonicMs());
      }
    },
    figures: () => ({ lateHours: late.size, isReady: isReady ? 1 : 0 }),
    close() {
      isClosed = true;
      cancel();
    },
  };
}
