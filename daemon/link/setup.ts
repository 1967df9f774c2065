/**
 * What the agent's side needs before it can connect, whether it is a process of its own or part of
 * a whole daemon: who it is, where its samples wait, how the link is set.
 */
import { join } from 'node:path';
import { openDaemonClient } from '../../broker/client.ts';
import { ringMs } from '../../broker/contract/limits.ts';
import type { DaemonConfig } from '../config.ts';
import type { DaemonDeps } from '../main.ts';
import type { Sampler } from '../sample/sampler.ts';
import type { LinkSettings } from './agent.ts';
import { type Credential, CredentialError, credentialPath, readCredential } from './credential.ts';
import { type DiskOutbox, openDiskOutbox } from './disk-outbox.ts';
import { enrol } from './enrolment.ts';
import { type Marks, openMarks } from './marks.ts';

/** 15 minutes of one node with 20 guests at the default interval take 1.3 MB; 32 such nodes fit. */
const ringBytesMax = 48 * 2 ** 20;
/** Half a day of such a node. */
const outboxBytesMax = 64 * 2 ** 20;
const segmentBytes = 2 ** 20;
const replayEveryMs = 500;
/** A daemon that is asked to stop has ended by then, whatever the network does. */
export const stopMaxMs = 2_000;

/** @throws CredentialError when it may not speak for this node and no token helps. */
export async function credentialOf(
  config: DaemonConfig,
  deps: DaemonDeps,
  sampler: Sampler,
): Promise<Credential> {
  if (deps.credential) return deps.credential;
  const path = credentialPath(config.dataDir);
  const kept = await readCredential(path);
  if (kept) return kept;
  const { mqttUrl: url, cluster, node, enrolment } = config;
  if (!enrolment) {
    const wayOut = 'create an enrolment on the server and set KR_ENROL_TOKEN to its token';
    throw new CredentialError('KR_NOT_ENROLLED', `${cluster}/${node} is not enrolled: ${wayOut}`);
  }
  const { kernel } = (await sampler.facts()).facts;
  const { clock, random, newId, log, version: daemonVersion } = deps;
  const { openClient = openDaemonClient, signal = new AbortController().signal } = deps;
  const asked = { url, cluster, node, ...enrolment, daemonVersion, kernel, path };
  return enrol(asked, { clock, random, newId, log, openClient }, signal);
}

export async function diskOf(
  config: DaemonConfig,
  deps: DaemonDeps,
): Promise<DiskOutbox | undefined> {
  const bytesMax = deps.outboxBytesMax === undefined ? outboxBytesMax : deps.outboxBytesMax;
  if (bytesMax === null) return undefined;
  return openDiskOutbox({ folder: join(config.dataDir, 'outbox'), bytesMax, segmentBytes });
}

export const marksOf = ({ dataDir }: DaemonConfig): Marks => openMarks(join(dataDir, 'sampled'));

export const settingsOf = (
  config: DaemonConfig,
  { link }: DaemonDeps,
  { cluster, daemon, secret, caSha256 }: Credential,
): LinkSettings => ({
  url: config.mqttUrl,
  cluster,
  daemon,
  secret,
  caSha256,
  intervalMs: config.intervalMs,
  ring: link?.ring ?? { ageMaxMs: ringMs, bytesMax: ringBytesMax },
  replayEveryMs: link?.replayEveryMs ?? replayEveryMs,
  ...(link?.phaseMs && { phaseMs: link.phaseMs }),
});
