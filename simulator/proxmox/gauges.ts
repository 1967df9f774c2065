/**
 * The files of /proc and /sys of one fake host whose numbers move: cpu time, memory, uptime, and
 * the cgroups of its running guests. Counters only grow, by what the world did since the last look.
 */
import { sampleNode } from '../world/sample.ts';
import type { WorldGuest, WorldNode } from '../world/model.ts';
import { isUp, type Pve, typeOf } from './pve.ts';

export const cgroupOf = (guest: WorldGuest): string =>
  typeOf(guest) === 'qemu'
    ? `sys/fs/cgroup/qemu.slice/${guest.spec.id}.scope`
    : `sys/fs/cgroup/lxc/${guest.spec.id}`;

/** The kernel counts in hundredths of a second. */
const ticksPerMs = 0.1;

const pressure = (kind: 'some' | 'full', ratio: number | null): string =>
  `${kind} avg10=${((ratio ?? 0) * 100).toFixed(2)} avg60=0.00 avg300=0.00 total=0\n`;

const both = (ratio: number | null): string => pressure('some', ratio) + pressure('full', null);

const kibibytes = (bytes: number): string => `${Math.floor(bytes / 1024)} kB`;

function cgroupFiles(
  guest: WorldGuest,
  usageMicroseconds: number,
  calm: { cpu: number | null; memory: number | null },
): Record<string, string> {
  return {
    'cgroup.events': 'populated 1\nfrozen 0\n',
    'cpu.stat': `usage_usec ${Math.round(usageMicroseconds)}\nuser_usec 0\nsystem_usec 0\n`,
    'memory.current': `${guest.memoryBytes / 2}\n`,
    'memory.swap.current': '0\n',
    'memory.stat': 'anon 1\ninactive_file 0\n',
    'io.stat': `8:0 rbytes=${Math.round(usageMicroseconds)} wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n`,
    'cpu.pressure': both(calm.cpu),
    'io.pressure': both(null),
    'memory.pressure': both(calm.memory),
  };
}

function nodeFiles(pve: Pve, node: WorldNode, ticks: { busy: number; idle: number }) {
  const { spec, guests } = node;
  const running = guests.filter(({ state }) => state === 'running');
  const used = running.reduce((sum, { memoryBytes }) => sum + memoryBytes / 2, 2 ** 30);
  const available = Math.max(0, spec.memoryBytes - used);
  const seconds = Math.max(0, Math.floor((pve.live.nowMs() - node.bootedAtMs) / 1000));
  const cpu = `${Math.floor(ticks.busy)} 0 0 ${Math.floor(ticks.idle)} 0 0 0 0 0 0\n`;
  const each = Array.from({ length: spec.cpuCount }, (_, index) => `cpu${index} 0 0 0 0\n`);
  return {
    'proc/stat': `cpu  ${cpu}${each.join('')}`,
    'proc/uptime': `${seconds}.00 0.00\n`,
    'proc/meminfo':
      `MemTotal:       ${kibibytes(spec.memoryBytes)}\nMemAvailable:   ${kibibytes(available)}\n` +
      'SwapTotal:      0 kB\nSwapFree:       0 kB\n',
  };
}

/** Answers the files of this moment, by path. */
export function createGauges(pve: Pve, node: WorldNode): () => Record<string, string> {
  const ticks = { busy: 0, idle: 0 };
  const usage = new Map<string, { lifeAtMs: number; microseconds: number }>();
  let lookedAtMs = pve.live.nowMs();
  return () => {
    const nowMs = pve.live.nowMs();
    const elapsedMs = Math.max(0, nowMs - lookedAtMs);
    lookedAtMs = nowMs;
    if (!isUp(node)) return {};
    const sample = sampleNode(pve.live.world, node, nowMs);
    const busy = (sample.node.cpuRatio ?? 0) * elapsedMs * node.spec.cpuCount * ticksPerMs;
    ticks.busy += busy;
    ticks.idle += elapsedMs * node.spec.cpuCount * ticksPerMs - busy;
    const files: Record<string, string> = nodeFiles(pve, node, ticks);
    for (const guest of node.guests) {
      const { id } = guest.spec;
      if (guest.state !== 'running') {
        usage.delete(id);
        continue;
      }
      const own = sample.guests?.find((other) => other.id === id);
      const kept = usage.get(id);
      const before = kept?.lifeAtMs === guest.startedAtMs ? kept.microseconds : 0;
      const microseconds = before + (own?.cpuRatio ?? 0) * elapsedMs * 1000 * guest.cpuCount;
      usage.set(id, { lifeAtMs: guest.startedAtMs, microseconds });
      const calm = { cpu: own?.cpuPressureRatio ?? null, memory: own?.memoryPressureRatio ?? null };
      for (const [name, text] of Object.entries(cgroupFiles(guest, microseconds, calm))) {
        files[`${cgroupOf(guest)}/${name}`] = text;
      }
    }
    return files;
  };
}
