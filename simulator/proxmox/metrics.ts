/**
 * `/cluster/metrics/export` as PVE::PullMetric answers it: points of one round of pvestatd, and of
 * as many earlier rounds as it keeps. A node forgets its rounds when it goes off, since they lie
 * in memory.
 */
import type { WorldGuest, WorldNode } from '../world/model.ts';
import { sampleNode } from '../world/sample.ts';
import { isUp, nodeOf, nodesOf, type Pve, typeOf } from './pve.ts';

type Point = { id: string; metric: string; timestamp: number; type: string; value: number };
export type Round = Point[];

const roundEveryMs = 10_000;
/** 180 old ones and the newest. */
const roundsMax = 181;

type Stamp = { id: string; timestamp: number };

const points =
  (type: 'gauge' | 'derive', { id, timestamp }: Stamp) =>
  (values: Record<string, number | null>): Point[] =>
    Object.entries(values).map(([metric, value]) => ({
      id,
      metric,
      timestamp,
      type,
      // Perl adds 0, so that what is not there is 0 in the real answer, too.
      value: value ?? 0,
    }));

function nodePoints(pve: Pve, node: WorldNode, timestamp: number): Point[] {
  const { node: values } = sampleNode(pve.live.world, node, pve.live.nowMs());
  const stamp = { id: `node/${node.spec.node}`, timestamp };
  const uptime = Math.floor((pve.live.nowMs() - node.bootedAtMs) / 1000);
  return [
    ...points(
      'gauge',
      stamp,
    )({
      uptime,
      cpu_avg1: values.loadAverage1,
      cpu_avg5: values.loadAverage5,
      cpu_avg15: values.loadAverage15,
      cpu_max: values.cpuCount,
      cpu_current: values.cpuRatio,
      cpu_iowait: values.ioWaitRatio,
      mem_total: values.memoryTotalBytes,
      mem_used: values.memoryUsedBytes,
      swap_total: values.swapTotalBytes,
      swap_used: values.swapUsedBytes,
      disk_total: node.spec.diskBytes,
      disk_used: node.spec.diskBytes / 4,
    }),
    ...points('derive', stamp)({ net_in: uptime * 5_000, net_out: uptime * 2_000 }),
  ];
}

function guestPoints(pve: Pve, guest: WorldGuest, timestamp: number): Point[] {
  const stamp = { id: `${typeOf(guest)}/${guest.spec.id}`, timestamp };
  const isRunning = guest.state === 'running';
  const seconds = isRunning ? Math.floor((pve.live.nowMs() - guest.startedAtMs) / 1000) : 0;
  const { guests } = sampleNode(pve.live.world, guest.node, pve.live.nowMs());
  const own = guests?.find(({ id }) => id === guest.spec.id);
  const lasting = points(
    'gauge',
    stamp,
  )({
    uptime: seconds,
    cpu_max: guest.cpuCount,
    mem_total: guest.memoryBytes,
    disk_total: guest.spec.diskBytes,
  });
  if (!isRunning) return lasting;
  return [
    ...points(
      'gauge',
      stamp,
    )({
      cpu_current: own?.cpuRatio ?? 0,
      mem_used: own?.memoryUsedBytes ?? 0,
    }),
    ...points(
      'derive',
      stamp,
    )({
      disk_read: seconds * 500,
      disk_write: seconds * 4_000,
      net_in: seconds * 2_000,
      net_out: seconds * 1_000,
    }),
    ...lasting,
  ];
}

function roundOf(pve: Pve, node: WorldNode): Round {
  const timestamp = Math.floor(pve.clock.wallMs() / 1000);
  const storage = points('gauge', { id: `storage/${node.spec.node}/shared`, timestamp });
  return [
    ...nodePoints(pve, node, timestamp),
    // Each subsystem has a stamp of its own, and the guests come after the node.
    ...node.guests.flatMap((guest) => guestPoints(pve, guest, timestamp + 1)),
    ...storage({ disk_total: 2 ** 44, disk_used: 2 ** 40 }),
  ];
}

/** One round of pvestatd on every node. */
export function takeRound(pve: Pve): void {
  for (const node of nodesOf(pve)) {
    const { node: name } = node.spec;
    if (!isUp(node)) pve.rounds.delete(name);
    else
      pve.rounds.set(name, [...(pve.rounds.get(name) ?? []), roundOf(pve, node)].slice(-roundsMax));
  }
}

/** Until the answer is called. */
export function startPvestatd(pve: Pve): () => void {
  let cancel = pve.clock.after(roundEveryMs, function round() {
    takeRound(pve);
    cancel = pve.clock.after(roundEveryMs, round);
  });
  return () => cancel();
}

type Options = Readonly<Record<string, string>>;

const flag = (text: string | undefined): boolean => text === '1' || text === 'true';

function localPoints(pve: Pve, node: WorldNode, options: Options): Point[] {
  const { history, 'start-time': start } = options;
  const kept = pve.rounds.get(node.spec.node) ?? [];
  // Without history it is the newest round; the world's own now stands for it.
  const rounds = flag(history) ? kept : [roundOf(pve, node)];
  const after = start === undefined ? -1 : Number(start);
  return rounds.flat().filter(({ timestamp }) => timestamp > after);
}

export function exported(pve: Pve, here: WorldNode, options: Options): { data: Point[] } {
  const names = options['node-list']?.split(/[,;\s]+/).filter((name) => name !== '');
  const all = flag(options['local-only']) && !names ? [here] : nodesOf(pve);
  const asked = names ? names.map((name) => nodeOf(pve, name)) : all;
  return { data: asked.filter(isUp).flatMap((node) => localPoints(pve, node, options)) };
}
