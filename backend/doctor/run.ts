/** `kernreaktor doctor`: asks the machine, what the server needs, and the server if it runs. */
import { z } from 'zod';
import type { Environment } from '../../broker/contract/environment.ts';
import { type ClientApi, ApiRefused, createClientApi } from '../cli/api.ts';
import { readServerAddress } from '../cli/config.ts';
import { allNodes } from '../cli/find.ts';
import { ConfigError } from '../config.ts';
import { examineFleet, type HouseSeen, type NodeSeen } from './fleet.ts';
import { type Finding, note } from './finding.ts';
import { examineHost, examineSettings } from './host.ts';
import { examineReach, type ReachParts } from './reach.ts';

const Detail = z.object({
  id: z.string(),
  cluster: z.string(),
  state: z.string(),
  ageMs: z.number().nullable(),
  online: z.boolean(),
  protected: z.boolean(),
  simulated: z.boolean(),
  localHold: z.boolean(),
  sampledAt: z.string().nullable(),
  capabilities: z.array(z.string()),
  facts: z
    .object({
      links: z
        .array(
          z.object({
            name: z.string(),
            mac: z.string(),
            broadcast: z.string().nullable(),
            wakeOnMagic: z.boolean().nullable(),
          }),
        )
        .nullable(),
    })
    .nullable(),
});
const Standing = z.object({
  isProven: z.boolean(),
  ways: z.array(z.object({ executor: z.string(), by: z.string() })),
});
const Hold = z.object({ all: z.boolean(), clusters: z.array(z.string()) });
const House = z.object({ unknown: z.array(z.string()) });
const BackupList = z.object({
  items: z.array(z.object({ at: z.string() })),
  last: z.object({ problem: z.string().nullable() }).nullable(),
});

/** A fleet of thousands is looked at by its panel; here each node costs two questions. */
const nodesMax = 64;

const ask = <T>(api: ClientApi, schema: z.ZodType<T>, path: string): Promise<T> =>
  api.ask(schema, { method: 'GET', path: `/api/v1/${path}` });

async function nodeSeen(api: ClientApi, at: { cluster: string; id: string }, nowMs: number) {
  const path = `clusters/${encodeURIComponent(at.cluster)}/nodes/${encodeURIComponent(at.id)}`;
  const detail = await ask(api, Detail, path);
  const { sampledAt, ageMs, facts, capabilities } = detail;
  const standing = await ask(api, Standing, `${path}/wake-proofs`).catch((error: unknown) => {
    if (error instanceof ApiRefused) return { isProven: false, ways: [] };
    throw error;
  });
  const isTimed = sampledAt !== null && ageMs !== null;
  return {
    ...detail,
    clockOffsetMs: isTimed ? Date.parse(sampledAt) + ageMs - nowMs : null,
    links: facts?.links ?? null,
    canSleep: capabilities.includes('node.shutdown'),
    ...standing,
  } satisfies NodeSeen & object;
}

async function lookAt(api: ClientApi, nowMs: () => number): Promise<HouseSeen> {
  const [hold, house, backups] = await Promise.all([
    ask(api, Hold, 'hold'),
    ask(api, House, 'own-house'),
    ask(api, BackupList, 'backups'),
  ]);
  const nodes: NodeSeen[] = [];
  for (const { cluster, id } of (await allNodes(api)).slice(0, nodesMax)) {
    nodes.push(await nodeSeen(api, { cluster, id }, nowMs()));
  }
  const [newest] = backups.items;
  return {
    holds: [...(hold.all ? ['everything'] : []), ...hold.clusters],
    unready: [],
    unknownParts: house.unknown,
    backupProblem: backups.last?.problem ?? null,
    newestBackupAgeMs: newest ? nowMs() - Date.parse(newest.at) : null,
    nodes,
  };
}

async function examineServer(
  parts: ReachParts,
  environment: Environment,
): Promise<{ isRunning: boolean; findings: Finding[] }> {
  const away = (detail: string) => ({
    isRunning: false,
    findings: [note({ check: 'fleet', subject: 'server', detail }, 'kernreaktor start')],
  });
  let api: ClientApi;
  try {
    api = createClientApi(readServerAddress(environment));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return away('does not run here: its nodes were not looked at');
  }
  try {
    const seen = await lookAt(api, () => parts.clock.wallMs());
    return { isRunning: true, findings: examineFleet(seen) };
  } catch (error) {
    if (!(error instanceof ApiRefused)) throw error;
    return away(error.message);
  } finally {
    await api.close();
  }
}

export async function examineAll(parts: ReachParts, environment: Environment): Promise<Finding[]> {
  const { settings, findings } = examineSettings(environment);
  if (settings === null) return findings;
  const server = await examineServer(parts, environment);
  const nowMs = parts.clock.wallMs();
  return [
    ...findings,
    ...(await examineHost(settings, { nowMs, isRunning: server.isRunning })),
    ...(await examineReach(settings, parts)),
    ...server.findings,
  ];
}
