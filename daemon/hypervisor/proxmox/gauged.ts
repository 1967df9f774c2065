/**
 * What only a program can tell of the machine itself: whether its links answer a magic packet
 * (ethtool), whether ZFS scrubs or resilvers (zpool), whether the UPS is on battery (upsc). Asked
 * with the slow questions, never in steady sampling. null: it could not be learned.
 */
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import type { ToolResult } from '../../command/sandbox.ts';
import type { Files } from '../../sample/files.ts';

/** What a program prints, whatever its exit code; null when it did not run. */
export type AskTool = (
  tool: 'ethtool' | 'zpool' | 'upsc',
  argv: readonly string[],
) => Promise<ToolResult | null>;
type Toolbox = { ask: AskTool };

export type Gauged = {
  /** Link name -> `Wake-on: g`. */
  wakeOnMagic: ReadonlyMap<string, boolean>;
  /** null: ZFS is here and did not answer. */
  zfsWork: NonNullable<NodeFacts['busy']> | null;
  upsOnBattery: boolean | null;
};

/** `Wake-on: pumbg`; `Supports Wake-on:` is another line. */
export function parseWakeOn(text: string): boolean | null {
  const [, modes] = /^\s*Wake-on: ([a-z]+)$/m.exec(text) ?? [];
  return modes === undefined ? null : modes.includes('g');
}

async function readWakeOn(toolbox: Toolbox, files: Files): Promise<Gauged['wakeOnMagic']> {
  const links: [string, boolean][] = [];
  for (const name of (await files.names('sys/class/net')) ?? []) {
    if (!(await files.exists(`sys/class/net/${name}/device`))) continue;
    const isArmed = parseWakeOn((await toolbox.ask('ethtool', [name]))?.stdout ?? '');
    if (isArmed !== null) links.push([name, isArmed]);
  }
  return new Map(links);
}

/** `pool: tank` and its `scan:` line; a paused scrub goes on by itself and counts. */
export function parseZpool(text: string): NonNullable<NodeFacts['busy']> {
  return text.split(/^(?=\s*pool: )/m).flatMap((section) => {
    const [, pool = ''] = /^\s*pool: (\S+)/.exec(section) ?? [];
    const [, work] = /^\s*scan: (scrub|resilver) (?:in progress|paused)/m.exec(section) ?? [];
    return work === undefined ? [] : [{ what: `zfs-${work}`, detail: pool }];
  });
}

async function readZfs(toolbox: Toolbox, files: Files): Promise<Gauged['zfsWork']> {
  const entries = (await files.names('proc/spl/kstat/zfs')) ?? [];
  const pools: string[] = [];
  for (const name of entries) {
    if (await files.exists(`proc/spl/kstat/zfs/${name}/state`)) pools.push(name);
  }
  if (pools.length === 0) return [];
  const answer = await toolbox.ask('zpool', ['status']);
  return answer?.exitCode === 0 ? parseZpool(answer.stdout) : null;
}

/** `MONITOR ups@localhost 1 user password primary`; status `OL CHRG` or `OB DISCHRG`. */
async function readNut(toolbox: Toolbox, files: Files): Promise<boolean | null> {
  const config = (await files.text('etc/nut/upsmon.conf')) ?? '';
  const names = [...config.matchAll(/^\s*MONITOR\s+(\S+)/gm)].map(([, name = '']) => name);
  const states: boolean[] = [];
  for (const name of names) {
    const status = (await toolbox.ask('upsc', [name, 'ups.status']))?.stdout.trim() ?? '';
    if (/^(OL|OB)\b/.test(status)) states.push(status.startsWith('OB'));
  }
  if (states.includes(true)) return true;
  return names.length > 0 && states.length === names.length ? false : null;
}

export async function readGauged(toolbox: Toolbox, files: Files): Promise<Gauged> {
  const [wakeOnMagic, zfsWork, upsOnBattery] = await Promise.all([
    readWakeOn(toolbox, files),
    readZfs(toolbox, files),
    readNut(toolbox, files),
  ]);
  return { wakeOnMagic, zfsWork, upsOnBattery };
}
