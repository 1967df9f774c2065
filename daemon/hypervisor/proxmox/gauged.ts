/**
 * What only a program can tell of the machine itself: whether its links answer a magic packet
 * (ethtool), whether ZFS scrubs or resilvers (zpool), whether the UPS is on battery (upsc). Asked
 * with the slow questions and before a power-off, never in steady sampling. null: it could not be
 * learned. A UPS that is configured and silent may be on battery, so it counts as work under way.
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
type Busy = NonNullable<NodeFacts['busy']>;

export type Gauged = {
  /** Link name -> `Wake-on: g`. */
  wakeOnMagic: ReadonlyMap<string, boolean>;
  /** null: ZFS is here and did not answer. */
  work: Busy | null;
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
export function parseZpool(text: string): Busy {
  return text.split(/^(?=\s*pool: )/m).flatMap((section) => {
    const [, pool = ''] = /^\s*pool: (\S+)/.exec(section) ?? [];
    const [, work] = /^\s*scan: (scrub|resilver) (?:in progress|paused)/m.exec(section) ?? [];
    return work === undefined ? [] : [{ what: `zfs-${work}`, detail: pool }];
  });
}

async function readZfs(toolbox: Toolbox, files: Files): Promise<Busy | null> {
  const entries = (await files.names('proc/spl/kstat/zfs')) ?? [];
  const pools: string[] = [];
  for (const name of entries) {
    if (await files.exists(`proc/spl/kstat/zfs/${name}/state`)) pools.push(name);
  }
  if (pools.length === 0) return [];
  const answer = await toolbox.ask('zpool', ['status']);
  return answer?.exitCode === 0 ? parseZpool(answer.stdout) : null;
}

/**
 * `OL CHRG`, `OB DISCHRG`, `FSD OB LB`, `OL OFF`: a forced shutdown and a low battery are the last
 * words before the power goes. null: no word of it says where the power comes from.
 */
export function parseUpsStatus(text: string): boolean | null {
  const words = new Set(text.trim().split(/\s+/));
  if (['OB', 'FSD', 'LB'].some((word) => words.has(word))) return true;
  return words.has('OL') ? false : null;
}

type Ups = { onBattery: boolean | null; silent: Busy };

/** `MONITOR ups@localhost 1 user password primary` */
async function readNut(toolbox: Toolbox, files: Files): Promise<Ups> {
  const config = (await files.text('etc/nut/upsmon.conf')) ?? '';
  const names = [...config.matchAll(/^\s*MONITOR\s+(\S+)/gm)].map(([, name = '']) => name);
  const states: (boolean | null)[] = [];
  const silent: Busy = [];
  for (const name of names) {
    const state = parseUpsStatus((await toolbox.ask('upsc', [name, 'ups.status']))?.stdout ?? '');
    states.push(state);
    if (state === null) silent.push({ what: 'ups-silent', detail: name });
  }
  if (states.includes(true)) return { onBattery: true, silent };
  return { onBattery: names.length > 0 && silent.length === 0 ? false : null, silent };
}

export async function readGauged(toolbox: Toolbox, files: Files): Promise<Gauged> {
  const [wakeOnMagic, zfsWork, ups] = await Promise.all([
    readWakeOn(toolbox, files),
    readZfs(toolbox, files),
    readNut(toolbox, files),
  ]);
  const work = zfsWork && [...zfsWork, ...ups.silent];
  return { wakeOnMagic, work, upsOnBattery: ups.onBattery };
}
