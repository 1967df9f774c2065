/**
 * The ways to wake a node: which awake daemon may try, and by which means, in the order in which
 * they are tried; and what a proof of one such way is bound to. Invariant: a proof counts for the
 * very hardware and software it was made with and for nothing else. Pure.
 */
import { hash } from 'node:crypto';
import type { NodeFacts } from '../../broker/contract/facts.ts';

export const wakerKinds = ['wol', 'ipmi', 'redfish', 'plug', 'script'] as const;
export type WakerKind = (typeof wakerKinds)[number];

export type Way = {
  executor: string;
  by: WakerKind;
  /** A magic packet stays in its broadcast domain; a BMC or a plug is asked by its address. */
  isNear: boolean;
};

/** A daemon that may wake others, as far as it has described itself. */
export type Candidate = { id: string; canWake: boolean; facts: NodeFacts | null };

export const broadcastsOf = (facts: NodeFacts | null): string[] => [
  ...new Set((facts?.links ?? []).flatMap(({ broadcast }) => broadcast ?? [])),
];

/** What its own configuration says of this target; a daemon without such words sends packets. */
function meansOf({ facts }: Candidate, target: string): readonly WakerKind[] {
  const lists = facts?.wakers ?? null;
  if (lists === null) return ['wol'];
  const own = lists.find(({ node }) => node === target) ?? lists.find(({ node }) => node === null);
  return own?.by ?? [];
}

/** Unknown broadcasts do not exclude a try: a directed packet may still be routed. */
function mayReach(candidate: readonly string[], target: readonly string[]): boolean {
  if (candidate.length === 0 || target.length === 0) return true;
  return candidate.some((broadcast) => target.includes(broadcast));
}

/** First everybody's first choice, by node id, then the second ones. */
export function waysTo(
  target: { id: string; facts: NodeFacts | null },
  candidates: readonly Candidate[],
): Way[] {
  const domain = broadcastsOf(target.facts);
  const ranked = candidates
    .filter(({ canWake, id }) => canWake && id !== target.id)
    .flatMap((candidate) => {
      const reached = broadcastsOf(candidate.facts);
      return meansOf(candidate, target.id).flatMap((by, rank) => {
        if (by === 'wol' && !mayReach(reached, domain)) return [];
        const isNear = by !== 'wol' || reached.some((broadcast) => domain.includes(broadcast));
        return [{ rank, way: { executor: candidate.id, by, isNear } }];
      });
    });
  return ranked
    .toSorted((a, b) => a.rank - b.rank || (a.way.executor < b.way.executor ? -1 : 1))
    .map(({ way }) => way);
}

const isArmed = (facts: NodeFacts | null): boolean =>
  facts?.links?.some(({ wakeOnMagic }) => wakeOnMagic === true) ?? false;

/** Links that answer a magic packet; where no link says so, every link is worth a packet. */
export function macsOf(facts: NodeFacts | null): string[] {
  const links = facts?.links ?? [];
  const armed = links.filter(({ wakeOnMagic }) => wakeOnMagic === true);
  return [...new Set((armed.length > 0 ? armed : links).map(({ mac }) => mac))].slice(0, 16);
}

export type Binding = {
  waker: WakerKind;
  kernel: string;
  biosVersion: string | null;
  links: { mac: string; driver: string | null; wakeOnMagic: boolean | null }[];
};

/**
 * What a proof by this waker is bound to, or null where the node has not said enough. A BMC or a
 * plug does not ask the network card, so its proof is bound to no link.
 */
export function bindingOf(facts: NodeFacts | null, waker: WakerKind): Binding | null {
  if (!facts || facts.kernel === null) return null;
  const { kernel, biosVersion } = facts;
  if (waker !== 'wol') return { waker, kernel, biosVersion, links: [] };
  if (!isArmed(facts)) return null;
  const links = (facts.links ?? [])
    .filter(({ wakeOnMagic }) => wakeOnMagic === true)
    .map(({ mac, driver, wakeOnMagic }) => ({ mac, driver, wakeOnMagic }))
    .toSorted((a, b) => (a.mac < b.mac ? -1 : 1));
  return { waker, kernel, biosVersion, links };
}

export const bindingHash = (binding: Binding): string => hash('sha256', JSON.stringify(binding));

/** One cycle that was tried, as stored. */
export type ProofRow = {
  waker: string;
  binding_hash: string;
  succeeded: 0 | 1;
  woken_at_ms: number | null;
  boot_ms: number | null;
  created_at_ms: number;
};

export type Proof = {
  waker: WakerKind;
  succeeded: number;
  youngestAgeMs: number | null;
  /** The median of what was measured, from the wake to the rejoined cluster. */
  bootMs: number | null;
};

/** SAFETY W1: from the wake to the rejoined cluster. */
const rejoinMaxMs = 10 * 60_000;

/** Successes since the last failure by the same way, made with what the node is today. */
function proofBy(
  waker: WakerKind,
  rows: readonly ProofRow[],
  now: { facts: NodeFacts | null; nowMs: number },
): Proof {
  const binding = bindingOf(now.facts, waker);
  const hash = binding && bindingHash(binding);
  const own = rows
    .filter((row) => row.waker === waker)
    .toSorted((a, b) => b.created_at_ms - a.created_at_ms);
  const failedAt = own.findIndex(({ succeeded }) => succeeded === 0);
  const good = (failedAt < 0 ? own : own.slice(0, failedAt)).filter(
    (row) =>
      hash !== null &&
      row.binding_hash === hash &&
      row.woken_at_ms !== null &&
      row.boot_ms !== null &&
      row.boot_ms <= rejoinMaxMs,
  );
  const youngest = good[0]?.woken_at_ms ?? null;
  const boots = good.flatMap(({ boot_ms }) => boot_ms ?? []).toSorted((a, b) => a - b);
  return {
    waker,
    succeeded: good.length,
    youngestAgeMs: youngest === null ? null : now.nowMs - youngest,
    bootMs: boots[Math.floor(boots.length / 2)] ?? null,
  };
}

export const proofsOf = (
  rows: readonly ProofRow[],
  now: { facts: NodeFacts | null; nowMs: number },
): Proof[] => wakerKinds.map((waker) => proofBy(waker, rows, now));

export const proofsMin = 3;
export const proofMaxAgeMs = 30 * 86_400_000;

export const isProof = ({ succeeded, youngestAgeMs }: Proof): boolean =>
  succeeded >= proofsMin && youngestAgeMs !== null && youngestAgeMs <= proofMaxAgeMs;
