/**
 * Commands at a rate, whatever the server does: an open loop, so that a slow answer never slows the
 * questions. Kinds are drawn by the weights of the mix, guests among those that fit; when none
 * does, that is counted and nothing is sent.
 */
import type { Random } from '../../broker/contract/ports.ts';
import { ApiError, type GuestAnswer } from '../api.ts';
import { type Asking, carryOut, type CommandOutcome } from '../commands.ts';
import { pick } from '../prng.ts';
import type { GuestCommand } from './profile.ts';

export type CommandRate = Asking & {
  perMinute: number;
  mix: Partial<Record<GuestCommand, number>>;
  clusters: () => readonly { id: string; nodes: readonly string[] }[];
  random: Random;
  isStopped: () => boolean;
};

/** What the server shows may be a sample old anyway. */
const listMaxAgeMs = 5_000;
/** Commands of the last second get so long to end. */
const endMaxMs = 60_000;
const lookEveryMs = 100;

function drawKind({ mix, random }: CommandRate): GuestCommand {
  const kinds = Object.entries(mix) as [GuestCommand, number][];
  let left = random.ratio() * kinds.reduce((sum, [, weight]) => sum + weight, 0);
  const found = kinds.find(([, weight]) => (left -= weight) < 0) ?? kinds.at(-1);
  return (found as [GuestCommand, number])[0];
}

function argsOf(kind: GuestCommand, guest: GuestAnswer, elsewhere: string | undefined) {
  if (kind === 'guest.scale') return { cpuCount: (guest.cpuCount ?? 1) === 1 ? 2 : 1 };
  if (kind !== 'guest.migrate') return {};
  return elsewhere === undefined ? null : { targetNode: elsewhere };
}

function createLists({ api, clock, log }: CommandRate) {
  const lists = new Map<string, { atMs: number; guests: GuestAnswer[] }>();
  return async (cluster: string): Promise<GuestAnswer[]> => {
    const kept = lists.get(cluster);
    const nowMs = clock.monotonicMs();
    if (kept && nowMs - kept.atMs < listMaxAgeMs) return kept.guests;
    try {
      const guests = await api.guests(cluster);
      lists.set(cluster, { atMs: nowMs, guests });
      return guests;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      log.warn({ error, cluster }, 'the guests could not be listed');
      return kept?.guests ?? [];
    }
  };
}

const pauseFor = ({ clock }: CommandRate, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, () => resolve()));

export async function runCommandRate(run: CommandRate): Promise<CommandOutcome> {
  const { clock, random, perMinute } = run;
  const outcome: CommandOutcome = { followed: [], refused: 0, skipped: 0 };
  const guestsOf = createLists(run);
  const busy = new Set<string>();
  const open = new Set<Promise<void>>();
  const failures: unknown[] = [];

  async function one(): Promise<void> {
    const { id: cluster, nodes } = pick(random, run.clusters());
    const kind = drawKind(run);
    const wanted = kind === 'guest.start' ? 'stopped' : 'running';
    const fitting = (await guestsOf(cluster)).filter(
      ({ id, state, lock }) => state === wanted && lock === null && !busy.has(`${cluster}/${id}`),
    );
    const guest = fitting[Math.floor(random.ratio() * fitting.length)];
    const others = nodes.filter((node) => node !== guest?.node);
    const args = guest && argsOf(kind, guest, others[Math.floor(random.ratio() * others.length)]);
    if (!guest || !args) {
      outcome.skipped += 1;
      return;
    }
    const key = `${cluster}/${guest.id}`;
    busy.add(key);
    const wish = { cluster, kind, node: guest.node, guest: guest.id, args };
    const followed = await carryOut(run, wish).finally(() => busy.delete(key));
    if (followed) outcome.followed.push(followed);
    else outcome.refused += 1;
  }

  const startMs = clock.monotonicMs();
  for (let count = 0; !run.isStopped();) {
    const dueMs = startMs + (count * 60_000) / perMinute;
    const waitMs = dueMs - clock.monotonicMs();
    if (waitMs > 0) {
      await pauseFor(run, Math.min(waitMs, lookEveryMs));
      continue;
    }
    count += 1;
    const asked = one()
      .catch((error: unknown) => void failures.push(error))
      .finally(() => open.delete(asked));
    open.add(asked);
  }
  await Promise.race([Promise.all(open), pauseFor(run, endMaxMs)]);
  if (failures.length > 0) throw failures[0];
  return outcome;
}
