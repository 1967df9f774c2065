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
/**
 * Empty where the member has no socket of corosync-qdevice: there is no device, or its daemon does
 * not run there, which this answer does not tell apart.
 */
const Qdevice = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((answer) => ({
    isShown: Object.keys(answer ?? {}).length > 0,
    isConnected: answer?.['State'] === 'Connected',
  }));

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

/** What the members say of a quorum device, each by its own URL. */
export type Qdevices = {
  /** `unknown`: no member shows one, and nobody has declared that there is none. */
  state: 'none' | 'unknown' | 'shown';
  /** Those whose own daemon is connected, as Proxmox spells them. */
  connected: readonly string[];
};

export type Look = {
  atMs: number;
  resources: Resources;
  status: z.infer<typeof ClusterStatus> | null;
  votes: z.infer<typeof ConfiguredVotes> | null;
  /** null: no member answered. */
  qdevice: Qdevices | null;
  ha: HaAnswers | null;
  exported: Exported | null;
};

export type Cluster = {
  /** At most this old. @throws PveApiError */
  look(ageMaxMs: number): Promise<Look>;
  /** Something has happened: what is known is old. */
  expire(): void;
};

type Asking = { api: PveApi; clock: Clock; log: Log; hasNoQdevice: boolean };

/** A member that is off costs seconds, and is not asked again for so long. */
const silentMs = 60_000;

/** Asks every member by itself: a device counts only where its own daemon speaks with it. */
function qdeviceAsker({ api, clock, log, hasNoQdevice }: Asking) {
  const silentUntilMs = new Map<string, number>();
  async function viewOf(via: string) {
    if (clock.monotonicMs() < (silentUntilMs.get(via) ?? -Infinity)) return null;
    try {
      const [status, device] = await Promise.all([
        api.get(ClusterStatus, '/cluster/status', { via }),
        api.get(Qdevice, '/cluster/config/qdevice', { via }),
      ]);
      return { ...device, name: status.nodes.find(({ local }) => local)?.name ?? '' };
    } catch (error) {
      silentUntilMs.set(via, clock.monotonicMs() + silentMs);
      log.debug({ via, problem: (error as Error).message }, 'a member says nothing of its votes');
      return null;
    }
  }
  return async (): Promise<Qdevices | null> => {
    const views = (await Promise.all(api.urls.map(viewOf))).filter((view) => view !== null);
    if (views.length === 0) return null;
    const isShown = views.some((view) => view.isShown);
    const connected = views.filter(({ isConnected }) => isConnected).map(({ name }) => name);
    if (isShown) return { state: 'shown', connected };
    return { state: hasNoQdevice ? 'none' : 'unknown', connected };
  };
}

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

async function take(asking: Asking, askQdevice: () => Promise<Qdevices | null>): Promise<Look> {
  const { api, clock } = asking;
  const atMs = clock.monotonicMs();
  const params = { history: '0' };
  const [resources, status, votes, qdevice, ha, exported] = await Promise.all([
    api.get(Resources, '/cluster/resources'),
    orNull(asking, 'status', api.get(ClusterStatus, '/cluster/status')),
    orNull(asking, 'votes', api.get(ConfiguredVotes, '/cluster/config/nodes')),
    askQdevice(),
    askHa(asking),
    orNull(asking, 'metrics', api.get(Exported, '/cluster/metrics/export', { params })),
  ]);
  return { atMs, resources, status, votes, qdevice, ha, exported };
}

export function createCluster(asking: Asking): Cluster {
  const askQdevice = qdeviceAsker(asking);
  let last: Look | null = null;
  let taking: Promise<Look> | null = null;
  let events = 0;
  return {
    async look(ageMaxMs) {
      const { clock } = asking;
      if (last !== null && clock.monotonicMs() - last.atMs <= ageMaxMs) return last;
      const seenEvents = events;
      const own = (taking ??= take(asking, askQdevice));
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
