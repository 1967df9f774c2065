/**
 * Guests tagged `kr_park` sleep with their node: they are shut down cleanly before a power-off and
 * started again when the host is back, or when the power-off did not happen. Invariant: who was
 * parked is durable before the first of them is touched, and stays so until it is seen to run and
 * to stay up, so that no crash forgets one; nothing is started that runs already. Whether a guest is
 * off is read from the list of guests: a driver that has just started knows of no task of ours, and
 * so denies nothing about one. It never cuts a guest's power.
 */
import type { Action, GrantContent } from '../../broker/contract/command.ts';
import type { GuestFacts } from '../../broker/contract/facts.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Performed, Work } from '../hypervisor/port.ts';
import type { Journal } from './journal.ts';
import type { ParkedRecord } from './journal-format.ts';
import {
  limited,
  messageOf,
  observeMaxMs,
  wait,
  watch,
  within,
  type WorkDeps,
} from './work-steps.ts';

export const parkTag = 'kr_park';

type Parkable = Pick<GuestSample | GuestFacts, 'id' | 'tags' | 'lock' | 'haState'>;

/**
 * Those that run, may be parked and can be: a locked guest is at work, and one that HA manages is
 * HA's to place.
 */
export const parkableOf = (guests: readonly GuestSample[]): string[] =>
  guests.filter((guest) => guest.state === 'running' && mayPark(guest)).map(({ id }) => id);

const mayPark = ({ tags, lock, haState }: Parkable): boolean =>
  tags.includes(parkTag) && lock === null && haState === null;

export type ParkDeps = WorkDeps & {
  journal: Pick<Journal, 'append' | 'state'>;
  /** Who forbids an effect at this very moment, or null. */
  heldBy: () => Promise<string | null>;
};

const shutdownMs = 180_000;
const startMs = 120_000;
const attemptsMax = 3;
const againMs = 20_000;
const lookEveryMs = 5_000;
/** So long a guest that was told to shut down may take after nobody waits for it any more. */
const settleMs = 300_000;
/** A host that has just booted mounts its configuration late, and nobody knows its guests before. */
const patienceMs = 600_000;

const guestWork = (grant: GrantContent, guest: string, action: Action): Work => ({
  commandId: grant.commandId,
  node: grant.node,
  target: { kind: 'guest', id: guest },
  action,
  timeScale: grant.timeScale,
});

/** The tool, then the world: what it says counts. */
async function bring(deps: ParkDeps, work: Work, limitMs: number): Promise<string | null> {
  const untilMs = deps.clock.monotonicMs() + limitMs;
  const performed: Performed = await limited(deps, limitMs, (signal) =>
    deps.hypervisor.perform(work, { signal, onHandle: async () => undefined }),
  );
  const { postcondition, detail } = await watch(deps, work, untilMs);
  return postcondition === true ? null : `${performed.detail}; ${detail}`;
}

const remember = (deps: ParkDeps, record: ParkedRecord): Promise<void> =>
  deps.journal.append([{ type: 'parked', record }]);

async function stopAll(deps: ParkDeps, grant: GrantContent, guests: readonly string[]) {
  const outcomes = await Promise.all(
    guests.map(async (guest) => {
      const args = { force: false, timeoutMs: shutdownMs };
      const work = guestWork(grant, guest, { kind: 'guest.stop', args });
      const problem = await bring(deps, work, shutdownMs);
      return problem === null ? [] : [`guest ${guest} did not shut down: ${problem}`];
    }),
  );
  return outcomes.flat();
}

/** Why the node must stay on, or null. Begins nothing unless every running guest may be parked. */
export async function park(deps: ParkDeps, grant: GrantContent): Promise<string | null> {
  const { hypervisor, log } = deps;
  const guests = async () => (await hypervisor.sample(grant.node)).guests;
  try {
    const before = await guests();
    if (before === null) return 'nobody can tell whether guests run here';
    const parkable = parkableOf(before);
    const bound = before.filter(({ id, state }) => state !== 'stopped' && !parkable.includes(id));
    if (bound[0]) return `guest ${bound[0].id} is ${bound[0].state}`;
    if (parkable.length === 0) return null;
    const why = await deps.heldBy();
    if (why !== null) return why;
    const { commandId, node } = grant;
    log.info({ commandId, guests: parkable }, 'guests are parked before the node sleeps');
    await remember(deps, { commandId, node, guests: parkable });
    const problems = await stopAll(deps, grant, parkable);
    const left = (await guests())?.filter(({ state }) => state !== 'stopped') ?? null;
    if (problems[0]) return problems[0];
    if (left === null) return 'nobody can tell whether guests run here';
    return left[0] ? `guest ${left[0].id} is ${left[0].state}` : null;
  } catch (error) {
    return `parking failed: ${messageOf(error)}`;
  }
}

type Parked = Pick<ParkDeps, 'journal'>;

/** Durable before the power-off begins, so that a later process knows whether it can have. */
export async function setOut({ journal }: Parked, commandId: string): Promise<void> {
  const record = journal.state.parked.get(commandId);
  if (!record) return;
  await journal.append([{ type: 'parked', record: { ...record, isGoing: true } }]);
}

/** Guests were parked for it, and that is as far as it came. */
export const hasOnlyParked = ({ journal }: Parked, commandId: string): boolean => {
  const record = journal.state.parked.get(commandId);
  return record !== undefined && record.isGoing !== true;
};

/** One list of the guests serves all that are asked about at the same time. */
function createLook({ hypervisor, clock }: ParkDeps, node: string) {
  let asking: Promise<readonly GuestSample[] | null> | null = null;
  const ask = async () => {
    const sampled = (async () => hypervisor.sample(node))().catch(() => undefined);
    return (await within(clock, observeMaxMs, sampled))?.guests ?? null;
  };
  /** null: nobody can tell. */
  return async (guest: string): Promise<GuestSample['state'] | null> => {
    asking ??= ask().finally(() => {
      asking = null;
    });
    return (await asking)?.find(({ id }) => id === guest)?.state ?? null;
  };
}

type Sleeper = { guest: string; look: ReturnType<typeof createLook>; settledAtMs: number };

/** Starts it unless it runs, and stays; what is wrong after some attempts, or null. */
async function wakeGuest(deps: ParkDeps, grant: GrantContent, sleeper: Sleeper) {
  const { guest, look, settledAtMs } = sleeper;
  const { clock } = deps;
  const work = guestWork(grant, guest, { kind: 'guest.start', args: {} });
  const untilMs = settledAtMs + patienceMs / grant.timeScale;
  let problem: string | null = null;
  for (let attempts = 0; ;) {
    const state = await look(guest);
    const nowMs = clock.monotonicMs();
    // Started by its host at boot, by a person, or by us before a crash: then there is nothing to do.
    if (state === 'running' && nowMs >= settledAtMs) return null;
    const isLastLook = attempts === attemptsMax || nowMs >= untilMs;
    if (isLastLook && state !== 'running') return problem ?? `it is ${state ?? 'not to be seen'}`;
    if (state === 'stopped') {
      attempts += 1;
      problem = await bring(deps, work, startMs);
      if (problem === null) return null;
    }
    await wait(clock, (state === 'stopped' ? againMs : lookEveryMs) / grant.timeScale);
  }
}

/**
 * What is left for a person to do; nothing when all run again. A guest that did not shut down in
 * time may still do so: unless its host has booted since, it must be seen to stay up.
 */
export async function unpark(
  deps: ParkDeps,
  grant: GrantContent,
  { hasBooted }: { hasBooted: boolean },
): Promise<string[]> {
  const { journal, log, clock } = deps;
  const { commandId } = grant;
  const record = journal.state.parked.get(commandId);
  if (!record) return [];
  const look = createLook(deps, grant.node);
  const settledAtMs = clock.monotonicMs() + (hasBooted ? 0 : settleMs / grant.timeScale);
  const problems: string[] = [];
  await Promise.all(
    record.guests.map(async (guest) => {
      const problem = await wakeGuest(deps, grant, { guest, look, settledAtMs });
      if (problem === null) return;
      log.error({ commandId, guest, problem }, 'a parked guest could not be started again');
      problems.push(`parked guest ${guest} could not be started again: ${problem}`);
    }),
  );
  await remember(deps, { ...record, guests: [] });
  return problems;
}
