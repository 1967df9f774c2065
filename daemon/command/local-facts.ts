/**
 * Gathers what the guards judge by, fresh, all at once, within 5 s. Invariant: what does not
 * answer in time, or fails, is missing, and missing denies. It never caches.
 */
import type { Clock, Log } from '../../broker/contract/ports.ts';
import type { Description, Hypervisor } from '../hypervisor/port.ts';
import { type GuardFacts, isPowerOff, type Wanted } from './guards.ts';
import type { PolicyReading } from './local-policy.ts';
import { parkableOf } from './parking.ts';
import { within } from './work-steps.ts';

export type FactSources = {
  hypervisor: Hypervisor;
  readPolicy: () => Promise<PolicyReading>;
  /** The HOLD file of this machine. */
  isHeld: () => Promise<boolean>;
  clock: Clock;
  log: Log;
};

export type LocalFacts = Pick<
  GuardFacts,
  'driver' | 'nodeFacts' | 'guests' | 'runningGuests' | 'parkable' | 'policy' | 'isHeldHere'
> & { bootId: string | null };

const factsMaxMs = 5_000;

async function answered<T>(
  { clock, log }: FactSources,
  what: string,
  answer: () => Promise<T>,
): Promise<T | undefined> {
  const tried = (async () => answer())().catch((error: unknown) => {
    log.warn({ error, what }, 'no facts for the guards');
    return undefined;
  });
  return within(clock, factsMaxMs, tried);
}

type Running = Pick<LocalFacts, 'runningGuests' | 'parkable'>;

/** The driver's own count, or a count of what it lists, whichever is more. */
async function countRunning(
  sources: FactSources,
  node: string,
  description: Description | undefined,
): Promise<Running> {
  const told = description?.facts.runningGuests ?? null;
  if (told === 0) return { runningGuests: 0, parkable: [] };
  const sample = await answered(sources, 'sample', () => sources.hypervisor.sample(node));
  const guests = sample?.guests ?? null;
  if (guests === null) return { runningGuests: told, parkable: [] };
  // A guest in an unknown state may run: only those known to be off do not count.
  const listed = guests.filter((guest) => guest.state !== 'stopped').length;
  const { name = '', capabilities = [] } = description?.driver ?? {};
  // Only the host itself wakes with its node, and can start again what it has shut down.
  const canPark =
    name !== 'proxmox-api' &&
    capabilities.includes('guest.stop') &&
    capabilities.includes('guest.start');
  return {
    runningGuests: Math.max(told ?? 0, listed),
    parkable: canPark ? parkableOf(guests) : [],
  };
}

/** What the administrator of this machine wants, whatever the server says. */
export async function gatherLocalWill(
  sources: FactSources,
): Promise<Pick<LocalFacts, 'policy' | 'isHeldHere'>> {
  const [policy, held] = await Promise.all([
    answered(sources, 'policy', sources.readPolicy),
    answered(sources, 'hold', sources.isHeld),
  ]);
  return {
    policy: policy ?? { ok: false, problem: 'the local policy could not be read' },
    isHeldHere: held ?? true,
  };
}

export async function gatherFacts(
  sources: FactSources,
  node: string,
  { kind }: Pick<Wanted, 'kind'>,
): Promise<LocalFacts> {
  const isFresh = isPowerOff(kind);
  const [description, will] = await Promise.all([
    answered(sources, 'description', () => sources.hypervisor.describe(node, { isFresh })),
    gatherLocalWill(sources),
  ]);
  return {
    driver: description?.driver ?? null,
    nodeFacts: description?.facts ?? null,
    guests: description?.guests ?? null,
    bootId: description?.bootId ?? null,
    ...(isFresh
      ? await countRunning(sources, node, description)
      : { runningGuests: null, parkable: [] }),
    ...will,
  };
}
