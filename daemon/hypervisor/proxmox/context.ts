/**
 * What all parts of the driver share: its node, its files, its tools, and what it remembers of the
 * effects it ran. Node names are lower-case ids for us and may hold capitals for Proxmox.
 */
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import type { Files } from '../../sample/files.ts';
import type { Sampler } from '../../sample/sampler.ts';
import { keep, type Run } from '../runs.ts';
import type { HostFiles } from './host-files.ts';
import type { SlowAnswers } from './slow-answers.ts';
import type { Toolbox } from './toolbox.ts';

export type Context = {
  node: string;
  simulated: boolean;
  daemonVersion: string;
  sampler: Sampler;
  files: Files;
  host: HostFiles;
  toolbox: Toolbox;
  slow: SlowAnswers;
  clock: Clock;
  log: Log;
  runs: Map<string, Run>;
  /** For migrations that name no limit; null leaves it to datacenter.cfg. */
  migrationBytesPerSecond: number | null;
};

export const remember = (
  { runs }: Pick<Context, 'runs'>,
  commandId: string,
  startedAtMs: number,
): Run => keep(runs, commandId, { startedAtMs, ended: null });

/** Nothing of it is at work any more. */
export const conclude = ({ clock }: Pick<Context, 'clock'>, run: Run, isOk: boolean): void => {
  run.ended = { atMs: clock.monotonicMs(), isOk };
};

export const nodeIdOf = (pveName: string): string => pveName.toLowerCase();

/** This node as Proxmox spells it; our own spelling while it cannot be asked. */
export const pveNodeOf = async ({ host, node }: Context): Promise<string> =>
  (await host.members())?.nodeName ?? node;

/** A member as Proxmox spells it. */
export async function pveNameOf({ host }: Context, nodeId: string): Promise<string> {
  const nodes = (await host.members())?.nodes ?? [];
  return nodes.find(({ name }) => nodeIdOf(name) === nodeId)?.name ?? nodeId;
}
