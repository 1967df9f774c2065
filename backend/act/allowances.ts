/**
 * What goes with a grant because the server knows more than the node: how else the node is woken,
 * whether replicas may age, whether a vote must be spare. Invariant: it only repeats what the
 * server's own guards have let pass for this very command; it allows nothing by itself. Pure.
 */
import { Allowance, type GrantContent } from '../../broker/contract/command.ts';
import type { GuardFacts } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

/** For a command whose guards have all passed on these facts. */
export function allowancesOf({ kind, args, targetNode, target, limits }: GuardFacts): Allowance[] {
  if (!isPowerOff(kind)) return [];
  const facts = targetNode?.facts ?? null;
  const isArmed = facts?.links?.some(({ wakeOnMagic }) => wakeOnMagic === true) ?? false;
  const isByHand = args['switchOnByHand'] === target.id;
  const found: Record<Allowance, boolean> = {
    'no-magic-packet': kind === 'node.shutdown' && !isArmed && !isByHand,
    'aged-replicas':
      limits.replicas === 'may-age' && facts?.roles?.includes('replication-target') === true,
    'no-spare-vote': limits.spareVoters === 0 && (facts?.quorum ?? null) !== null,
  };
  return Allowance.options.filter((one) => found[one]);
}

/** Those of the grant that was signed before, for the same permission said again. */
export function allowancesIn(grantSigned: string | null): Allowance[] {
  if (grantSigned === null) return [];
  const { signed } = JSON.parse(grantSigned) as { signed: string };
  return (JSON.parse(signed) as GrantContent).allows ?? [];
}
