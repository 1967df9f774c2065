/**
 * What processes cost, from /proc: CPU seconds and the peak of resident memory. Also whether this
 * process, the generator, kept its own pace; when it did not, its figures say nothing.
 */
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** The kernel's USER_HZ, which is 100 on every architecture we support. */
const ticksPerSecond = 100;

export type Usage = {
  pid: number;
  cpuSeconds: number;
  rssBytes: number;
  rssPeakBytes: number;
};

/** null when there is no such process, or it may not be read. */
export function usageOf(pid: number | null): Usage | null {
  if (pid === null) return null;
  try {
    // The second field is the name in parentheses and may hold spaces, so count from its end.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const bytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) * 1024;
    const cpuSeconds = ticks / ticksPerSecond;
    return { pid, cpuSeconds, rssBytes: bytes('VmRSS'), rssPeakBytes: bytes('VmHWM') };
  } catch {
    return null;
  }
}

/** CPU seconds between two looks at the same process; null when it was replaced meanwhile. */
export const cpuBetween = (before: Usage | null, after: Usage | null): number | null =>
  before !== null && after !== null && before.pid === after.pid
    ? after.cpuSeconds - before.cpuSeconds
    : null;

/** Watches how late this process's own event loop is. */
export function watchPace(): {
  lagP99Ms(): number;
  /** Since it was last asked. */
  recentP99Ms(): number;
  stop(): void;
} {
  const resolutionMs = 10;
  const all = monitorEventLoopDelay({ resolution: resolutionMs });
  const recent = monitorEventLoopDelay({ resolution: resolutionMs });
  all.enable();
  recent.enable();
  // The histogram counts the resolution itself as delay.
  const p99Ms = (delays: typeof all): number =>
    delays.count === 0 ? 0 : Math.max(0, delays.percentile(99) / 1e6 - resolutionMs);
  return {
    lagP99Ms: () => p99Ms(all),
    recentP99Ms() {
      const lagMs = p99Ms(recent);
      recent.reset();
      return lagMs;
    },
    stop() {
      all.disable();
      recent.disable();
    },
  };
}
