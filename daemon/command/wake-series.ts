/**
 * A wake by a way that nobody answers: three bursts, a minute apart, since a packet may be lost and
 * a host that is still going down hears none (SAFETY W3). Invariant: a way that has an answer is
 * used once, and no burst follows once the node is known to be awake, the wake is called off, or
 * somebody holds. A series does not outlive its process: a restart sends nothing again.
 */
import type { Performed } from '../hypervisor/port.ts';
import { pause } from '../hypervisor/runs.ts';
import type { WakeRequest, Waker } from '../waker/port.ts';
import { messageOf, type WorkDeps } from './work-steps.ts';

export type Series = {
  wakers: readonly Waker[];
  request: WakeRequest;
  /** Divides the minute in a simulated world. */
  timeScale: number;
  /** Ends it between two bursts. */
  signal: AbortSignal;
  /** Why nothing may be sent, asked before every burst; null: it may. */
  heldBy: () => Promise<string | null>;
  isAwake: () => Promise<boolean>;
};

const burstsMax = 3;
const burstEveryMs = 60_000;

type Sent = { performed: Performed; waker: Waker | null };

async function sendBy(wakers: readonly Waker[], series: Series): Promise<Sent> {
  const { request, signal } = series;
  const failures: string[] = [];
  for (const waker of wakers) {
    try {
      const { detail } = await waker.wake(request, signal);
      const output = failures.join('\n');
      return { performed: { exitCode: 0, detail: `${waker.name}: ${detail}`, output }, waker };
    } catch (error) {
      failures.push(`${waker.name}: ${messageOf(error)}`);
    }
  }
  const detail = failures.length > 0 ? failures.join('; ') : 'no waker of that name';
  return { performed: { exitCode: 1, detail, output: '' }, waker: null };
}

/** The first burst, by the first way that can send. */
export async function firstBurst(series: Series): Promise<Sent> {
  const why = await series.heldBy();
  if (why === null) return sendBy(series.wakers, series);
  return { performed: { exitCode: 1, detail: `not sent: ${why}`, output: '' }, waker: null };
}

/** Why the next burst is left out, or null. */
async function reasonToEnd({ signal, isAwake, heldBy }: Series): Promise<string | null> {
  if (signal.aborted) return 'it is awake, or nobody waits for it any more';
  if (await isAwake()) return 'it is a member of the running cluster again';
  return heldBy();
}

/** What is to be said of the bursts after the first, '' for a way that answers. */
export async function laterBursts(
  { clock, log }: Pick<WorkDeps, 'clock' | 'log'>,
  series: Series,
  waker: Waker | null,
): Promise<string> {
  if (waker?.isUnanswered !== true) return '';
  const { request, timeScale, signal } = series;
  for (let bursts = 1; bursts < burstsMax; bursts += 1) {
    await pause(clock, burstEveryMs / timeScale, signal);
    const why = await reasonToEnd(series);
    if (why !== null) return `; ended after ${bursts} of ${burstsMax} bursts: ${why}`;
    const { performed } = await sendBy([waker], series);
    const { exitCode, detail } = performed;
    log.info({ node: request.node, burst: bursts + 1, exitCode, detail }, 'woken again');
  }
  return `; ${burstsMax} bursts`;
}
