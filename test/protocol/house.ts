/** Everything one seed consists of, put together: world, wire, nodes, backends, judges. */
import { createHash } from 'node:crypto';
import type { GrantContent } from '../../broker/contract/command.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { NewId } from '../../broker/contract/ports.ts';
import type { Signer } from '../../backend/act/signer.ts';
import { idsOf } from '../support/clock.ts';
import { type Backend, createBackend } from './backend.ts';
import { type Chance, chanceOf } from './chance.ts';
import { type Court, createCourt } from './court.ts';
import { type HeapClock, heapClock } from './heap-clock.ts';
import { type ClusterPlan, drawClusters } from './houses.ts';
import { watchCommits } from './judge-commits.ts';
import { type EffectWatch, judgeEffect, judgeVotes } from './judge-effects.ts';
import { createJournalJudge } from './judge-journal.ts';
import { createLedger, type Ledger } from './ledger.ts';
import { createNetwork, type Network } from './network.ts';
import { createNode, type SimNode } from './node.ts';
import type { SimStore } from './store.ts';
import { createWire, endOf, type Wire } from './wire.ts';
import { createWorld, type World } from './world.ts';

export type Tier = 'core' | 'full';

/** What outlives a seed, made once per process. */
export type Workshop = { tier: Tier; signer: Signer; stranger: Signer; store: SimStore };

export type House = {
  clock: HeapClock;
  chance: Chance;
  newId: NewId;
  network: Network;
  wire: Wire;
  world: World;
  ledger: Ledger;
  court: Court;
  backends: Backend[];
  nodes: Map<string, SimNode>;
  counts: { crashes: number; forged: number; takeovers: number; holds: number };
  log: EventLog;
  /** Until then nobody sets a dead backend going. */
  restartBackendsAtMs: number;
  /** The faults have ended. */
  isCalm: boolean;
  startBackend(at: number): void;
  /** What a person was told does not matter here; what threw is a bug. */
  ask(answer: Promise<unknown> | undefined): void;
};

const traceOf = (error: unknown): string =>
  String((error as Error).stack)
    .split('\n')
    .slice(0, 4)
    .join(' ');

/** `lines` are kept for who reads them, the hash is made for who compares: most seeds need neither. */
export type Keeping = 'nothing' | 'hash' | 'lines';
export type EventLog = {
  note(line: () => string): void;
  lines: string[] | null;
  digest(): string;
};

export function createLog(clock: HeapClock, keeping: Keeping): EventLog {
  const hash = createHash('sha256');
  const lines: string[] | null = keeping === 'lines' ? [] : null;
  return {
    lines,
    note(line) {
      if (keeping === 'nothing') return;
      const stamped = `${clock.monotonicMs()} ${line()}\n`;
      lines?.push(stamped);
      hash.update(stamped);
    },
    digest: () => (keeping === 'nothing' ? '' : hash.digest('hex')),
  };
}

/** A broker that forges: a grant for this very claim, by a key nobody believes. */
function forge(house: House, workshop: Workshop, claim: Message<'claim'>): void {
  const row = house.ledger.commands.get(claim.body.commandId);
  if (!row || !house.chance.is(0.03)) return;
  house.counts.forged += 1;
  const content: GrantContent = {
    v: 1,
    type: 'grant',
    cluster: claim.cluster,
    node: claim.node,
    commandId: row.id,
    kind: row.kind,
    target: { kind: row.target_kind, id: row.target_id },
    args: {},
    generation: 1,
    epoch: 1_000_000,
    nonce: claim.body.nonce,
    simulated: house.world.clusters.find(({ id }) => id === row.cluster)?.simulated ?? true,
    timeoutMs: 60_000,
    timeScale: 1,
    policyHash: null,
  };
  const signed = workshop.stranger.sign(content);
  const keyId = house.chance.is(0.5) ? signed.keyId : workshop.signer.serverKeys[0]?.keyId;
  const body = { ...signed, keyId: keyId ?? signed.keyId };
  const end = house.wire.nodes.get(endOf(claim.cluster, claim.node));
  house.clock.after(house.chance.between(1, 500), () =>
    end?.receive({ name: 'grant', session: claim.session, body }),
  );
}

function keepHolds(house: Pick<House, 'world' | 'ledger' | 'nodes'>) {
  const since = new Map<string, number>();
  return (cluster: string, node: string): number | null => {
    const isHeld = house.ledger.isHeld(cluster);
    if (!isHeld) since.delete(cluster);
    else if (!since.has(cluster)) since.set(cluster, house.world.now());
    const here = house.nodes.get(endOf(cluster, node))?.heldSinceMs() ?? null;
    const there = since.get(cluster) ?? null;
    return here === null || there === null ? (here ?? there) : Math.min(here, there);
  };
}

type Parts = { house: House; workshop: Workshop };

function createJudges({ house }: Parts) {
  const { world, ledger, court, nodes, backends, clock } = house;
  const journal = createJournalJudge(court);
  const heldSinceMs = keepHolds(house);
  let aloneSinceMs: number | null = null;
  const isAlone = (): number | null => {
    if (backends.some((backend) => backend.isAlive())) aloneSinceMs = null;
    else aloneSinceMs ??= clock.monotonicMs();
    return aloneSinceMs;
  };
  // Looked at often enough that the beginning of each is known within seconds.
  const watch = (): void => {
    isAlone();
    for (const { id } of world.clusters) heldSinceMs(id, '');
    clock.after(4_001, watch);
  };
  watch();
  watchCommits({
    court,
    ledger,
    world,
    sampleAgeMs: (owner, node) => {
      const atMs = backends.find(({ name }) => name === owner)?.sampledAtMs.get(node);
      return atMs === undefined ? null : clock.monotonicMs() - atMs;
    },
    hasStarted({ cluster, executor, id }) {
      const found = nodes.get(endOf(cluster, executor));
      if (!found || found.disk.isReplaced()) return true;
      const phase = journal.keptOf(found, id)?.phase;
      return phase === 'started' || phase === 'finished';
    },
  });
  const effects: EffectWatch = {
    court,
    ledger,
    world,
    nowMs: () => clock.monotonicMs(),
    keptOf: (cluster, node, id) => {
      const found = nodes.get(endOf(cluster, node));
      return found && journal.keptOf(found, id);
    },
    aloneSinceMs: isAlone,
    heldSinceMs,
    hasFailedDisk: (cluster, node) => nodes.get(endOf(cluster, node))?.disk.hasFailed() ?? false,
  };
  return { journal, effects };
}

export async function createHouse(
  seed: number,
  workshop: Workshop,
  keeping: Keeping,
): Promise<House> {
  const clock = heapClock();
  const chance = chanceOf(seed);
  const newId = idsOf(clock, chance);
  const log = createLog(clock, keeping);
  const court = createCourt(() => clock.monotonicMs());
  const ledger = createLedger();
  const network = createNetwork(clock, chance);
  const clusters: ClusterPlan[] = drawClusters(chance);
  const nodes = new Map<string, SimNode>();
  const backends: Backend[] = [];
  const counts = { crashes: 0, forged: 0, takeovers: 0, holds: 0 };
  const { store } = workshop;
  let effects: EffectWatch | undefined;
  const world = createWorld({
    clock,
    chance,
    newId,
    clusters,
    listener: {
      onEffect(effect) {
        log.note(() => `effect ${JSON.stringify(effect)}`);
        if (effects) judgeEffect(effects, effect);
      },
      onOff(host, by) {
        log.note(() => `off ${host.cluster}/${host.plan.name} by ${by}`);
        nodes.get(endOf(host.cluster, host.plan.name))?.hostIsOff();
        if (by === 'world') counts.crashes += 1;
        if (by === 'command' && effects) judgeVotes(effects, host);
      },
      onBoot: (host) => log.note(() => `on ${host.cluster}/${host.plan.name} ${host.bootId}`),
    },
  });
  const wire = createWire({
    network,
    hasCodec: workshop.tier === 'full',
    note: (line) => log.note(line),
    onClaim: (claim) => forge(house, workshop, claim),
  });
  const house: House = {
    clock,
    chance,
    newId,
    network,
    wire,
    world,
    ledger,
    court,
    backends,
    nodes,
    counts,
    log,
    restartBackendsAtMs: 0,
    isCalm: false,
    startBackend,
    ask(answer) {
      answer?.catch((error: unknown) => court.accuse('BUG', traceOf(error)));
    },
  };
  clock.onBug((error) => court.accuse('BUG', traceOf(error)));
  ledger.onChange((changes) => {
    for (const { table, row } of changes) {
      if (table === 'leases') counts.takeovers += 1;
      if (table === 'clusters' && row.hold === 1) counts.holds += 1;
    }
  });
  ledger.onChange((changes, by) =>
    log.note(() => `${by.backend} commits ${JSON.stringify(changes)}`),
  );
  const judges = createJudges({ house, workshop });
  effects = judges.effects;
  ledger.absorb(await workshop.store.begin(clusters, () => clock.wallMs()), {
    backend: 'nobody',
    atMs: 0,
  });
  for (const plan of clusters) {
    for (const host of world.hostsOf(plan.id)) {
      const keys = workshop.signer.serverKeys;
      const own = { plan, host, clock, chance, newId, world, keys, wire };
      const deps = { ...own, watch: judges.journal, isCalm: () => house.isCalm };
      const node = createNode(deps);
      nodes.set(endOf(node.cluster, node.name), node);
      wire.nodes.set(endOf(node.cluster, node.name), node);
    }
  }
  function startBackend(at: number): void {
    const name = `backend-${at}`;
    backends[at]?.kill();
    const publish = (topic: string, payload: string): void => wire.fromServer(name, topic, payload);
    const isCut = (): boolean => network.isCut(name);
    const { signer } = workshop;
    const own = { name, owner: name, clock, chance, newId, store, ledger, signer };
    backends[at] = createBackend({ ...own, publish, isCut });
    wire.backends[at] = backends[at];
  }
  return house;
}
