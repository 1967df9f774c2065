/**
 * The policy as it counts for one cluster: within what no real machine may exceed, and within the
 * limits of the cluster's own guards, so that the engine, and a backtest, want nothing that guards
 * would deny by a number.
 */
import { type Limits, limitsOf } from './act/guard-limits.ts';
import { type Policy, withCeilings, withinGuards } from './decide/policy.ts';
import type { ClusterRecord } from './state/fleet.ts';

type Guarded = Pick<ClusterRecord, 'simulated' | 'limits' | 'settings'>;

const guardsOf = ({ simulated, limits, settings }: Guarded): Limits =>
  limitsOf({
    simulated: simulated ? 1 : 0,
    // A policy counts in the cluster's own time; whoever reads it divides.
    time_scale: 1,
    limits: limits ?? '{}',
    settings: settings ?? '{}',
  });

export function policyInForce(policy: Policy, cluster: Guarded): Policy {
  const { simulated, limits } = cluster;
  // Nothing is known of the guards of a simulated cluster that no row describes.
  if (simulated && limits === undefined) return policy;
  return withinGuards(simulated ? policy : withCeilings(policy), guardsOf(cluster));
}

/** Nothing sleeps there before somebody has shown that it wakes. */
export const needsProof = (cluster: Guarded): boolean =>
  !(cluster.simulated && cluster.limits === undefined) &&
  guardsOf(cluster).wakeProof === 'required';
