/**
 * What a load is put on, behind one face: a whole server with its API and its store, or a bare
 * broker with a subscriber of ours. The run asks it who may connect, what has arrived, and what is
 * kept; it never learns which of the two it is.
 */
import type { Clock, Log } from '../broker/contract/ports.ts';
import { type Api, ApiError, createApi } from './api.ts';
import type { Server } from './config.ts';
import type { LoadPlan } from './load/plan.ts';
import { type Reading, readingOf } from './load/reading.ts';
import { createSeat, type FleetCredential, type Seat, type SeatDeps } from './seat.ts';
import type { World } from './world/model.ts';

export type Held = {
  samples: number;
  missing: number;
  /** Nothing more comes. */ isFinal?: boolean;
};

export type Target = {
  mqttUrl: string;
  /** Whom the nodes of a world connect as. */
  enrol(world: World): Promise<FleetCredential[]>;
  makeSeat: (deps: SeatDeps, credential: FleetCredential) => Seat;
  /** null when nobody answered. */
  read(): Promise<Reading | null>;
  /** Of this run, since a wall time; null: nobody can tell. @throws ApiError while it is away */
  stored(sinceMs: number): Promise<Held | null>;
  /** For commands; a bare broker takes none. */
  api: Api | null;
  /** Of the process under load, when it runs on this machine. */
  pid(): number | null;
  close(): Promise<void>;
};

/** Enrols every node of the world; the answer holds what each daemon signs in with. */
export async function enrolAll(api: Api, world: World): Promise<FleetCredential[]> {
  const all: FleetCredential[] = [];
  for (const { id, nodes } of world.clusters.values()) {
    const { credentials, serverId, serverKeys } = await api.enrol(
      id,
      nodes.map(({ spec }) => spec.node),
    );
    all.push(...credentials.map((one) => ({ ...one, cluster: id, serverId, serverKeys })));
  }
  return all;
}

/** Tells the server how much its engine may do here and how fast time goes. */
async function setUpClusters(api: Api, world: World, { timeScale, auto }: LoadPlan): Promise<void> {
  const change = {
    ...(timeScale === 1 ? {} : { timeScale }),
    ...(auto ? { autonomy: { 'guest.migrate': 'auto' } } : {}),
  };
  if (Object.keys(change).length === 0) return;
  for (const cluster of world.clusters.keys()) await api.changeCluster(cluster, change);
}

export type ServerTargetDeps = { server: Server; plan: LoadPlan; clock: Clock; log: Log };

export function serverTarget({ server, plan, clock, log }: ServerTargetDeps): Target {
  const api = createApi(server);
  let isUnknown = false;
  return {
    mqttUrl: server.mqttUrl,
    async enrol(world) {
      const credentials = await enrolAll(api, world);
      await setUpClusters(api, world, plan);
      return credentials;
    },
    makeSeat: createSeat,
    async read() {
      try {
        return readingOf(await api.metricsText(), clock.monotonicMs());
      } catch (error) {
        log.warn({ error }, 'the metrics of the server could not be read');
        return null;
      }
    },
    async stored(sinceMs) {
      if (isUnknown) return null;
      try {
        return await api.missing(sinceMs, `${plan.clusterPrefix}-`);
      } catch (error) {
        if (!(error instanceof ApiError) || error.code === 'KR_UNREACHABLE') throw error;
        isUnknown = true;
        log.warn({ error }, 'the server does not say which samples are missing');
        return null;
      }
    },
    api,
    pid: () => server.pid(),
    close: () => api.close(),
  };
}
