/**
 * What a seed's world is made of: two clusters whose nodes and guests have equal names, each a
 * corosync cluster, with or without a quorum device, or standalone hosts; how patient its limits
 * are, who is protected, who has proven that it wakes. Only draws; nothing happens here.
 */
import type { ClusterRecord } from '../../backend/state/fleet.ts';
import type { Chance } from './chance.ts';

export type HostPlan = {
  name: string;
  votes: number;
  isProtected: boolean;
  /** Cycles of sleep and wake it has proven. */
  wakeProofs: number;
  /** What its network card and BIOS do with a magic packet. */
  wakes: 'always' | 'sometimes' | 'never';
  wakeOnMagic: boolean | null;
  /** An HA service holds its watchdog open. */
  hasHaService: boolean;
};
export type GuestPlan = { id: string; node: string; isRunning: boolean };

export type ClusterPlan = {
  id: string;
  /** A real one has the hard bounds of a real one, so little may happen there soon. */
  simulated: boolean;
  hasQuorum: boolean;
  qdeviceVotes: number;
  hosts: HostPlan[];
  guests: GuestPlan[];
  limits: Record<string, number>;
  settings: { wakeProof: 'required' | 'assumed'; reserve: 'none' };
  autonomy: ClusterRecord['autonomy'];
};

const guestIds = ['100', '101', '102', '103', '104', '105'];

function drawHost(chance: Chance, name: string, hasHa: boolean): HostPlan {
  return {
    name,
    votes: chance.is(0.08) ? 2 : 1,
    isProtected: chance.is(0.12),
    wakeProofs: chance.is(0.7) ? 3 : chance.whole(0, 2),
    wakes: chance.pick(['always', 'always', 'always', 'always', 'sometimes', 'never']),
    wakeOnMagic: chance.is(0.9) ? true : chance.pick([false, null]),
    hasHaService: hasHa && chance.is(0.4),
  };
}

/** Patience drawn so that every rule binds in some seeds and power commands happen in most. */
const drawLimits = (chance: Chance, globalEveryMs: number): ClusterPlan['limits'] => ({
  spareVoters: chance.pick([1, 0]),
  membershipStableMs: chance.pick([0, 5_000, 20_000]),
  minUptimeMs: chance.pick([0, 0, 30_000]),
  powerCyclesPerDay: chance.pick([2, 4, 100]),
  powerOffEveryMs: chance.pick([5_000, 20_000, 60_000]),
  powerOffRatioPerHour: chance.pick([0.2, 0.5, 1]),
  globalPowerOffEveryMs: globalEveryMs,
  wakeEveryMs: chance.pick([0, 5_000, 10_000]),
  migrationsPerNode: chance.pick([1, 1, 2]),
  guestMovesPerDay: chance.pick([2, 4]),
  guestCooldownMs: chance.pick([5_000, 30_000]),
  memoryReserveRatio: 0.1,
  staleNodesMin: chance.pick([2, 100]),
  manualPauseMs: chance.pick([0, 0, 30_000]),
  wakeQuarantineMs: chance.pick([0, 60_000]),
  freezeMs: chance.pick([0, 20_000]),
  abortFreezeMs: chance.pick([0, 30_000]),
  startupHoldMs: chance.pick([0, 0, 10_000]),
});

type Kind = { simulated: boolean; globalEveryMs: number };

function drawCluster(chance: Chance, id: string, kind: Kind): ClusterPlan {
  const { simulated, globalEveryMs } = kind;
  const hasQuorum = chance.is(0.7);
  const count = hasQuorum && chance.is(0.15) ? 2 : chance.pick([3, 4, 5, 5]);
  const hasQdevice = hasQuorum && chance.is(count === 2 ? 0.8 : count % 2 === 0 ? 0.4 : 0.1);
  const hasHa = hasQuorum && chance.is(0.25);
  const hosts = Array.from({ length: count }, (_, at) => drawHost(chance, `n${at + 1}`, hasHa));
  // Guests live on the first nodes, so that some others are empty enough to be switched off.
  const homes = hosts.slice(0, Math.max(1, Math.ceil(count / 2)));
  return {
    id,
    simulated,
    hasQuorum,
    qdeviceVotes: hasQdevice ? (count % 2 === 0 ? 1 : count - 1) : 0,
    hosts,
    guests: guestIds.slice(0, chance.whole(2, 6)).map((guest) => ({
      id: guest,
      node: chance.pick(homes).name,
      isRunning: chance.is(0.75),
    })),
    limits: simulated ? drawLimits(chance, globalEveryMs) : {},
    settings: { wakeProof: chance.pick(['required', 'assumed']), reserve: 'none' },
    autonomy: { default: chance.pick(['auto', 'auto', 'approve', 'recommend']) },
  };
}

export function drawClusters(chance: Chance): ClusterPlan[] {
  // One limit binds all clusters of a kind together, so all of them have the same.
  const globalEveryMs = chance.pick([0, 2_000, 10_000]);
  return [
    drawCluster(chance, 'home', { simulated: true, globalEveryMs }),
    drawCluster(chance, 'work', { simulated: !chance.is(0.15), globalEveryMs }),
  ];
}
