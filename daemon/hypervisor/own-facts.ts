/**
 * What a host without Proxmox VE tells of itself beside its hardware: roles, work under way, the
 * way back by Wake on LAN, the UPS. Guards of a power-off need each of them, and what cannot be
 * learned stays null, so that they deny. It starts programs only when somebody asks for the facts,
 * never for a sample.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import { allowTools, type RunTool, SandboxError } from '../command/sandbox.ts';
import { questionLimits } from '../command/transient-unit.ts';
import { filesBelow } from '../sample/files.ts';
import { readBusy, readRoles, readUps } from './proxmox/duties.ts';
import { type AskTool, readGauged } from './proxmox/gauged.ts';

const paths = {
  ethtool: '/usr/sbin/ethtool',
  zpool: '/usr/sbin/zpool',
  upsc: '/usr/bin/upsc',
} as const;

const questionMaxMs = 10_000;

export type OwnFactsOptions = {
  node: string;
  /** Where etc, proc and sys lie; `/` unless a test brings its own. */
  root?: string;
  run?: RunTool;
};

export type OwnFacts = (facts: NodeFacts) => Promise<NodeFacts>;

export function createOwnFacts(options: OwnFactsOptions): OwnFacts {
  const { node, root = '/', run = allowTools(Object.values(paths)) } = options;
  const files = filesBelow(root);
  const ask: AskTool = async (tool, argv) => {
    const signal = new AbortController().signal;
    const bounds = { env: {}, timeoutMs: questionMaxMs, limits: questionLimits, signal };
    try {
      return await run({ path: paths[tool], argv, ...bounds });
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      // Not installed here: what it would have told stays unknown.
      return null;
    }
  };
  return async (facts) => {
    const [gauged, roles] = await Promise.all([readGauged({ ask }, files), readRoles(files, node)]);
    const links = facts.links?.map((link) => ({
      ...link,
      wakeOnMagic: gauged.wakeOnMagic.get(link.name) ?? null,
    }));
    return {
      ...facts,
      links: links ?? null,
      roles,
      busy: await readBusy(files, [], gauged.work),
      upsOnBattery: gauged.upsOnBattery ?? (await readUps(files)),
    };
  };
}
