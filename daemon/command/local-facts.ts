/**
 * Gathers what the guards judge by, fresh, all at once, within 5 s. Invariant: what does not
 * answer in time, or fails, is missing, and missing denies. It never caches.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Clock, Log } from '../../broker/contract/ports.ts';
import type { Description, HostSample, Hypervisor } from '../hypervisor/port.ts';
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
  | 'driver'
  | 'nodeFacts'
  | 'guests'
  | 'runningGuests'
  | 'parkable'
  | 'uptimeMs'
  | 'membersStableForMs'
  | 'guestSample'
  | 'policy'
  | 'isHeldHere'
> & { bootId: string | null };

const factsMaxMs = 5_000;

/** What may be done depends on whether the guest runs, and on what it uses. */
const isByState: ReadonlySet<CommandKind> = new Set(['guest.migrate', 'guest.scale']);

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
function countRunning(description: Description | undefined, guests: HostSample['guests']): Running {
  const told = description?.facts.runningGuests ?? null;
  if (told === 0) return { runningGuests: 0, parkable: [] };
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
  { kind, target }: Pick<Wanted, 'kind' | 'target'>,
): Promise<LocalFacts> {
  const isFresh = isPowerOff(kind);
  const [description, sample, will] = await Promise.all([
    answered(sources, 'description', () => sources.hypervisor.describe(node, { isFresh })),
    isFresh || isByState.has(kind)
      ? answered(sources, 'sample', () => sources.hypervisor.sample(node))
      : undefined,
    gatherLocalWill(sources),
  ]);
  const guests = sample?.guests ?? null;
  return {
    driver: description?.driver ?? null,
    nodeFacts: description?.facts ?? null,
    guests: description?.guests ?? null,
    bootId: description?.bootId ?? null,
    ...(isFresh ? countRunning(description, guests) : { runningGuests: null, parkable: [] }),
    uptimeMs: sample?.node.uptimeMs ?? null,
    membersStableForMs: description?.membersStableForMs ?? null,
    guestSample: guests?.find(({ id }) => target.kind === 'guest' && id === target.id) ?? null,
    ...will,
  };
}
