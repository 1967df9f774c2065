/**
 * Sends commands of every kind through the API, as a person would, and follows each until it has
 * ended. Clusters work side by side; inside one a node is emptied, put to sleep, woken and filled
 * again, because that is what the guards allow. A server that is gone for a while is waited for;
 * the Idempotency-Key makes asking again safe.
 */
import { type CommandKind, type CommandState, isTerminal } from '../broker/contract/command.ts';
import type { Clock, Log, NewId } from '../broker/contract/ports.ts';
import { type Api, ApiError, type CommandAnswer, type GuestAnswer, type Wish } from './api.ts';

export type Followed = {
  id: string;
  kind: CommandKind;
  state: CommandState;
  reason: string | null;
  /** From the history: OFFERED to RUNNING; null when it never ran. */
  offerToStartedMs: number | null;
};

export type CommandRun = {
  api: Api;
  clusters: readonly { id: string; nodes: readonly string[] }[];
  count: number;
  clock: Clock;
  newId: NewId;
  log: Log;
  /** After this long the server has seen a sample of every node that is on. */
  sampledWithinMs: number;
  /** True once the run should end early. */
  isStopped: () => boolean;
};

/** What it takes to ask and to wait for the end. */
export type Asking = Pick<CommandRun, 'api' | 'clock' | 'newId' | 'log'>;

export type CommandOutcome = {
  followed: Followed[];
  /** Asked for and refused at the door, so no command came to be. */
  refused: number;
  /** Drawn, and not asked for, since no guest fitted. */
  skipped: number;
};

const pollMs = 400;
/** A wake nobody can prove ends by its deadline of 10 min; everything else is over long before. */
const followMaxMs = 11 * 60_000;
/** INDETERMINATE may still be settled by a probe; after this long it counts as it stands. */
const indeterminateMaxMs = 45_000;
const reachMaxMs = 180_000;
const seenMaxMs = 60_000;
const lanesMax = 16;
const sideBySide = 5;

const pause = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, () => resolve()));

/** Repeats while the server cannot be reached; a refusal is thrown at once. */
export async function persist<T>(run: Asking, ask: () => Promise<T>): Promise<T> {
  const deadlineMs = run.clock.monotonicMs() + reachMaxMs;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const isAway = error instanceof ApiError && error.code === 'KR_UNREACHABLE';
      if (!isAway || run.clock.monotonicMs() >= deadlineMs) throw error;
      await pause(run.clock, pollMs);
    }
  }
}

function offerToStarted({ history }: CommandAnswer): number | null {
  const at = (state: CommandState): number | null => {
    const line = history.find((entry) => entry.state === state);
    return line === undefined ? null : Date.parse(line.at);
  };
  const [offered, running] = [at('OFFERED'), at('RUNNING')];
  return offered === null || running === null ? null : running - offered;
}

async function follow(run: Asking, id: string): Promise<CommandAnswer> {
  const startMs = run.clock.monotonicMs();
  let doubtSinceMs: number | null = null;
  for (;;) {
    const answer = await persist(run, () => run.api.command(id));
    const nowMs = run.clock.monotonicMs();
    doubtSinceMs = answer.state === 'INDETERMINATE' ? (doubtSinceMs ?? nowMs) : null;
    const isDoubtful = doubtSinceMs !== null && nowMs - doubtSinceMs > indeterminateMaxMs;
    if (isTerminal(answer.state) || isDoubtful) return answer;
    if (nowMs - startMs > followMaxMs) return answer;
    await pause(run.clock, pollMs);
  }
}

/** What all lanes share: how many commands are left, and what became of those sent. */
type Ledger = CommandOutcome & { left: number };

type Lane = { run: CommandRun; ledger: Ledger; cluster: string; nodes: readonly string[] };
type Asked = { kind: CommandKind; node: string; guest?: string; args?: object };

/** Sends one command and stays with it to its end; null when it was refused at the door. */
export async function carryOut(
  run: Asking,
  wish: Wish & { kind: CommandKind },
): Promise<Followed | null> {
  const key = run.newId();
  try {
    const { id } = await persist(run, () => run.api.submit(wish, key));
    const answer = await follow(run, id);
    const { state, stateReason: reason } = answer;
    return { id, kind: wish.kind, state, reason, offerToStartedMs: offerToStarted(answer) };
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'KR_REFUSED') throw error;
    run.log.warn({ error, wish }, 'a command was refused');
    return null;
  }
}

/** True when it SUCCEEDED. */
async function order({ run, ledger, cluster }: Lane, asked: Asked): Promise<boolean> {
  if (ledger.left <= 0 || run.isStopped()) return false;
  ledger.left -= 1;
  const followed = await carryOut(run, { cluster, args: {}, ...asked });
  if (followed) ledger.followed.push(followed);
  else {
    ledger.refused += 1;
    ledger.left += 1;
  }
  return followed?.state === 'SUCCEEDED';
}

/** Waits until the server has seen what the next command needs; false when there is none left. */
async function until(lane: Lane, isSeen: () => Promise<boolean>): Promise<boolean> {
  const { run, ledger } = lane;
  const { clock } = run;
  const deadlineMs = clock.monotonicMs() + seenMaxMs;
  while (clock.monotonicMs() < deadlineMs && ledger.left > 0 && !run.isStopped()) {
    if (await persist(run, isSeen)) return true;
    await pause(clock, pollMs);
  }
  return false;
}

async function forEach<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let index = 0; index < items.length; index += sideBySide) {
    await Promise.all(items.slice(index, index + sideBySide).map(work));
  }
}

const guestsOn = async (lane: Lane, node: string): Promise<GuestAnswer[]> =>
  (await persist(lane.run, () => lane.run.api.guests(lane.cluster))).filter(
    (guest) => guest.node === node,
  );

const migrate = (lane: Lane, guest: string, [from, to]: readonly [string, string]) =>
  order(lane, { kind: 'guest.migrate', node: from, guest, args: { targetNode: to } });

/** What the server shows may be as old as a sample, and a person would wait for the next. */
const letItShow = ({ run }: Lane): Promise<void> => pause(run.clock, run.sampledWithinMs);

/** Every other running guest moves away, the rest is stopped. */
async function empty(lane: Lane, node: string, neighbour: string): Promise<GuestAnswer[]> {
  await letItShow(lane);
  const running = (await guestsOn(lane, node)).filter(({ state }) => state === 'running');
  const leaving = running.filter((_guest, index) => index % 2 === 0);
  await forEach(running, (guest) =>
    leaving.includes(guest)
      ? migrate(lane, guest.id, [node, neighbour])
      : order(lane, { kind: 'guest.stop', node, guest: guest.id }),
  );
  return leaving;
}

async function sleepAndWake(lane: Lane, node: string): Promise<void> {
  const isEmpty = async () => {
    const guests = await lane.run.api.guests(lane.cluster);
    return !guests.some((guest) => guest.node === node && guest.state !== 'stopped');
  };
  if (!(await until(lane, isEmpty))) return;
  // A node that is not seen to be off is not woken: right after a restart the server misses all.
  if (!(await order(lane, { kind: 'node.shutdown', node }))) return;
  const isOnline = async (wanted: boolean) => {
    const nodes = await lane.run.api.nodes(lane.cluster);
    return nodes.some(({ id, online }) => id === node && online === wanted);
  };
  if (!(await until(lane, () => isOnline(false)))) return;
  await order(lane, { kind: 'node.wake', node });
  await until(lane, () => isOnline(true));
}

/** The woken node gets its guests back; some of them are restarted and resized. */
async function fill(
  lane: Lane,
  [node, neighbour]: readonly [string, string],
  away: readonly GuestAnswer[],
): Promise<void> {
  await letItShow(lane);
  const stopped = (await guestsOn(lane, node)).filter(({ state }) => state === 'stopped');
  await forEach(stopped, ({ id }) => order(lane, { kind: 'guest.start', node, guest: id }));
  await forEach(away, ({ id }) => migrate(lane, id, [neighbour, node]));
  await forEach(stopped.slice(0, sideBySide), async ({ id, cpuCount }) => {
    await order(lane, { kind: 'guest.restart', node, guest: id });
    const args = { cpuCount: (cpuCount ?? 1) === 1 ? 2 : 1 };
    await order(lane, { kind: 'guest.scale', node, guest: id, args });
  });
}

async function drive(lane: Lane): Promise<void> {
  const { nodes, ledger, run } = lane;
  for (let turn = 0; ledger.left > 0 && !run.isStopped(); turn += 1) {
    const node = nodes[turn % nodes.length];
    const neighbour = nodes[(turn + 1) % nodes.length];
    if (node === undefined || neighbour === undefined) return;
    const before = ledger.left;
    const away = await empty(lane, node, neighbour);
    await sleepAndWake(lane, node);
    await fill(lane, [node, neighbour], away);
    // Nothing could be asked for in this cluster: no guests, no second node, nobody awake.
    if (ledger.left === before) return;
  }
}

export async function runCommands(run: CommandRun): Promise<CommandOutcome> {
  const ledger: Ledger = { followed: [], refused: 0, skipped: 0, left: run.count };
  const lanes = run.clusters
    .filter(({ nodes }) => nodes.length > 1)
    .slice(0, lanesMax)
    .map(({ id, nodes }) => drive({ run, ledger, cluster: id, nodes }));
  await Promise.all(lanes);
  return { followed: ledger.followed, refused: ledger.refused, skipped: 0 };
}
