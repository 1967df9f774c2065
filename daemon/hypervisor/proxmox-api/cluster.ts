/**
 * The whole cluster in one look, shared by all nodes that this daemon speaks for: who is a member,
 * where each guest is, votes, HA. A part without a usable answer is null, never empty; without the
 * list of resources there is no look at all.
 */
import { z } from 'zod';
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import { ClusterStatus, Resources } from '../proxmox/answers.ts';
import { ClusterOptions, type HaAnswers, HaCurrent, ManagerStatus } from '../proxmox/ha.ts';
import { Count, Numeric } from '../proxmox/scalars.ts';
import type { PveApi } from './client.ts';

const ConfiguredVotes = z.array(
  z.object({ node: z.string(), quorum_votes: Count.default(1) }).transform((row) => row),
);
/** Empty where there is none. */
const Qdevice = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((answer) => {
    const fields = answer ?? {};
    return Object.keys(fields).length === 0
      ? null
      : { isConnected: fields['State'] === 'Connected' };
  });

/** `/cluster/metrics/export`, the newest value per id and metric. */
const Exported = z
  .object({
    data: z.array(
      z.object({
        id: z.string(),
        metric: z.string(),
        timestamp: Count,
        value: Numeric.nullish(),
      }),
    ),
  })
  .transform(({ data }) => {
    const values = new Map<string, { atSeconds: number; value: number }>();
    for (const { id, metric, timestamp, value } of data) {
      const key = `${id} ${metric}`;
      if (value === null || value === undefined) continue;
      if ((values.get(key)?.atSeconds ?? -1) <= timestamp) {
        values.set(key, { atSeconds: timestamp, value });
      }
    }
    return values;
  });
export type Exported = z.infer<typeof Exported>;

export type Look = {
  atMs: number;
  resources: Resources;
  status: z.infer<typeof ClusterStatus> | null;
  votes: z.infer<typeof ConfiguredVotes> | null;
  /** undefined: it could not be asked. */
  qdevice: { isConnected: boolean } | null | undefined;
  ha: HaAnswers | null;
  exported: Exported | null;
};

export type Cluster = {
  /** At most this old. @throws PveApiError */
  look(ageMaxMs: number): Promise<Look>;
  /** Something has happened: what is known is old. */
  expire(): void;
};

type Asking = { api: PveApi; clock: Clock; log: Log };

async function orNull<T>({ log }: Asking, what: string, asked: Promise<T>): Promise<T | null> {
  return asked.catch((error: unknown) => {
    log.warn({ what, problem: (error as Error).message }, 'the API gave no usable answer');
    return null;
  });
}

async function askHa(asking: Asking): Promise<HaAnswers | null> {
  const { api } = asking;
  const [manager, services, options] = await Promise.all([
    orNull(asking, 'ha', api.get(ManagerStatus, '/cluster/ha/status/manager_status')),
    orNull(asking, 'ha', api.get(HaCurrent, '/cluster/ha/status/current')),
    orNull(asking, 'options', api.get(ClusterOptions, '/cluster/options')),
  ]);
  // A guest taken for free because one of the answers failed could be moved against its owner.
  return manager && services && options ? { manager, services, options } : null;
}

async function take(asking: Asking): Promise<Look> {
  const { api, clock } = asking;
  const atMs = clock.monotonicMs();
  const params = { history: '0' };
  const [resources, status, votes, qdevice, ha, exported] = await Promise.all([
    api.get(Resources, '/cluster/resources'),
    orNull(asking, 'status', api.get(ClusterStatus, '/cluster/status')),
    orNull(asking, 'votes', api.get(ConfiguredVotes, '/cluster/config/nodes')),
    api.get(Qdevice, '/cluster/config/qdevice').catch(() => undefined),
    askHa(asking),
    orNull(asking, 'metrics', api.get(Exported, '/cluster/metrics/export', { params })),
  ]);
  return { atMs, resources, status, votes, qdevice, ha, exported };
}

export function createCluster(asking: Asking): Cluster {
  let last: Look | null = null;
  let taking: Promise<Look> | null = null;
  let events = 0;
  return {
    async look(ageMaxMs) {
      const { clock } = asking;
      if (last !== null && clock.monotonicMs() - last.atMs <= ageMaxMs) return last;
      const seenEvents = events;
      const own = (taking ??= take(asking));
      const taken = await own.finally(() => {
        if (taking === own) taking = null;
      });
      if (events === seenEvents) last = taken;
      return taken;
    },
    expire() {
      events += 1;
      last = null;
      // What was asked before the event does not count as an answer after it.
      taking = null;
    },
  };
}
