/**
 * The same question put to the product: its server guards and its node-local guards, each from the
 * facts it would have gathered. Only translates; it never judges and never repairs.
 */
import { type Allowance, CommandKind, commandArgs } from '../../broker/contract/command.ts';
import { allowancesOf } from '../../backend/act/allowances.ts';
import type { GuardFacts, Load, NodeFact, OtherCommand } from '../../backend/act/guard.ts';
import type { Window } from '../../backend/decide/windows.ts';
import { limitsOf } from '../../backend/act/guard-limits.ts';
import { freshMsOf } from '../../backend/act/guard-node.ts';
import { evaluate } from '../../backend/act/guards.ts';
import { activeStates, isPowerOff } from '../../backend/act/lifecycle.ts';
import { bindingHash, proofsOf, wakerKinds } from '../../backend/act/wake-ways.ts';
import { judge } from '../../daemon/command/guards.ts';
import { facts as sampleFacts, node as sampleNode } from '../backend/act/guard-samples.ts';
import type { Case, CaseNode, PastCommand, WakeProof } from './case.ts';

const dayMs = 86_400_000;
/** The moment of judgement; every age of the case counts back from it. */
const nowMs = 100 * dayMs;
const epoch = 5;

const isAlive = ({ state }: { state: string }): boolean => state !== 'stopped';

const isHeard = ({ record: { online, sampleAtMs, intervalMs } }: CaseNode): boolean =>
  online && sampleAtMs !== null && -sampleAtMs <= freshMsOf(intervalMs);

function nodeFactOf(node: CaseNode, votesStableForMs: number | null = dayMs): NodeFact {
  const { record } = node;
  const { facts, sampleAtMs, offlineSinceMs } = record;
  return sampleNode(record.node, {
    online: record.online,
    driver: record.driver,
    protected: record.protected || facts?.protected === true,
    journalConfirmed: node.journalConfirmed,
    runningGuests: record.guests?.filter(isAlive).length ?? null,
    sampleAgeMs: sampleAtMs === null ? null : -sampleAtMs,
    freshMs: freshMsOf(record.intervalMs),
    facts,
    factsAgeMs: node.factsAgeMs,
    membersOnline: record.membersOnline,
    votesStableForMs,
    lockedGuests: record.guests?.flatMap(({ id, lock }) => (lock === null ? [] : [id])) ?? null,
    uptimeMs: record.values?.uptimeMs ?? null,
    memoryUsedBytes: record.values?.memoryUsedBytes ?? null,
    memoryTotalBytes: record.values?.memoryTotalBytes ?? null,
    cpuRatio: record.values?.cpuRatio ?? null,
    cpuCount: record.values?.cpuCount ?? null,
    keepAwakeUntilMs: node.keepAwakeForMs === null ? null : nowMs + node.keepAwakeForMs,
    localHold: record.localHold,
    clockOffsetMs: facts?.clockOffsetMs ?? null,
    desired: record.desired,
    quarantinedUntilMs: node.quarantinedForMs === null ? null : nowMs + node.quarantinedForMs,
    offlineForMs: offlineSinceMs === null ? null : -offlineSinceMs,
  });
}

const otherOf = (command: PastCommand, index: number): OtherCommand => ({
  id: String(index),
  kind: command.kind,
  state: command.state,
  target: command.guest ?? command.node,
  executor: command.node,
  destination: command.targetNode,
});

const loadOf = ({ nodes }: Case, id: string): Load | null => {
  const usage = nodes.find(({ record }) => record.node === id)?.usage;
  return usage ? { cpuRatio: usage.cpuRatioP95, memoryUsedBytes: usage.memoryP95Bytes } : null;
};

const mayHaveBegun = ({ state }: PastCommand): boolean => activeStates.includes(state);

/** Each way's proofs, as the rows of `wake_proofs` would say it. */
function proofsFor(proofs: readonly WakeProof[], { facts }: NodeFact) {
  const rows = proofs.map(({ binding, agoMs, succeeded, bootMs }) => {
    const { mac, nicDriver, kernel, biosVersion, wakeOnMagic } = binding;
    const waker = wakerKinds.find((kind) => kind === binding.waker) ?? 'script';
    const links = waker === 'wol' ? [{ mac: mac ?? '', driver: nicDriver, wakeOnMagic }] : [];
    return {
      waker,
      binding_hash: bindingHash({ waker, kernel: kernel ?? '', biosVersion, links }),
      woken_at_ms: nowMs - agoMs,
      boot_ms: bootMs,
      succeeded: succeeded ? (1 as const) : (0 as const),
      created_at_ms: nowMs - agoMs,
    };
  });
  return proofsOf(rows, { facts, nowMs });
}

const nodeOf = ({ nodes }: Case, id: string): CaseNode | undefined =>
  nodes.find(({ record }) => record.node === id);

/** null as soon as one guest that is on does not say how much it may use. */
function guestBytesOf(nodes: readonly CaseNode[]): number | null {
  let total = 0;
  for (const guest of nodes.flatMap(({ record }) => record.guests ?? [])) {
    if (!isAlive(guest)) continue;
    if (guest.memoryTotalBytes === null) return null;
    total += guest.memoryTotalBytes;
  }
  return total;
}

function powerOf(question: Case, target: NodeFact): GuardFacts['power'] {
  const powerCommands = question.commands.filter(
    ({ kind }) => isPowerOff(kind) || kind === 'node.wake',
  );
  const ended = powerCommands.flatMap(({ state, finishedAgoMs }) =>
    (state === 'SUCCEEDED' || state === 'FAILED') && finishedAgoMs !== null ? finishedAgoMs : [],
  );
  const inDoubt = powerCommands
    .filter((command) => isPowerOff(command.kind) && mayHaveBegun(command))
    .map(({ node }) => node)
    .filter((id) => id !== target.id);
  return {
    neighbours: question.nodes
      .filter(({ record }) => record.node !== target.id && record.driver !== null)
      .map((node) => nodeFactOf(node)),
    inDoubt: [...new Set(inDoubt)],
    lastChangeAgoMs: ended.length === 0 ? null : Math.min(...ended),
    cyclesToday: powerCommands.filter(
      ({ kind, node, state, finishedAgoMs }) =>
        isPowerOff(kind) &&
        node === target.id &&
        state === 'SUCCEEDED' &&
        (finishedAgoMs ?? dayMs) < dayMs,
    ).length,
    proofs: proofsFor(
      question.proofs.filter(({ node }) => node === target.id),
      target,
    ),
    wakeTable: {
      isWoken: !(nodeOf(question, target.id)?.record.maintenance ?? false),
      holders: question.nodes
        .filter(({ holdsWakeTable }) => holdsWakeTable)
        .map(({ record }) => record.node),
    },
    failingWakes: question.commands
      .filter(({ kind, state }) => kind === 'node.wake' && state === 'INDETERMINATE')
      .map(otherOf),
    provingCampaign: question.proposal.proving ? 'campaign' : null,
    load: loadOf(question, target.id),
    guestBytes: guestBytesOf(question.nodes),
  };
}

function guestFactOf(question: Case): GuardFacts['guest'] {
  const { node, guest } = question.proposal;
  const home = question.nodes.find(({ record }) => record.node === node);
  const sample = home?.record.guests?.find(({ id }) => id === guest);
  if (!home || !sample) return null;
  const moves = question.commands
    .filter(
      (command) =>
        command.kind === 'guest.migrate' &&
        command.guest === guest &&
        command.automatic &&
        command.state === 'SUCCEEDED' &&
        (command.finishedAgoMs ?? dayMs) < dayMs,
    )
    .map((move) => ({
      from: move.node,
      to: move.targetNode ?? '',
      agoMs: move.finishedAgoMs ?? 0,
    }));
  return {
    sample: { ...sample, cluster: 'home', node, sampleAtMs: 0 },
    facts: home.guestFacts?.find(({ id }) => id === guest) ?? null,
    alsoOn: question.nodes
      .filter((other) => other !== home && isHeard(other))
      .filter(({ record }) =>
        record.guests?.some(({ id, state }) => id === guest && state !== 'stopped'),
      )
      .map(({ record }) => record.node),
    memoryP99Bytes: question.guestMemoryP99Bytes,
    sizes: question.guestPolicy,
    moves: moves.toSorted((a, b) => a.agoMs - b.agoMs),
  };
}

const limitsCache = new Map<string, GuardFacts['limits']>();

function limitsFor({ cluster }: Case): GuardFacts['limits'] {
  const { simulated, spareVotes, reserve, reserveRatio, movesPerDay, wakeProof } = cluster;
  const key = JSON.stringify([
    simulated,
    spareVotes,
    reserve,
    reserveRatio,
    movesPerDay,
    wakeProof,
  ]);
  const known = limitsCache.get(key);
  if (known) return known;
  const limits = limitsOf({
    simulated: simulated ? 1 : 0,
    time_scale: 1,
    limits: JSON.stringify({
      spareVoters: spareVotes,
      memoryReserveRatio: reserveRatio,
      guestMovesPerDay: movesPerDay,
    }),
    settings: JSON.stringify({ wakeProof, reserve }),
  });
  limitsCache.set(key, limits);
  return limits;
}

function awakeOf({ nodes }: Case): GuardFacts['awake'] {
  const expected = nodes.filter(
    ({ record }) => record.desired === 'awake' && !record.maintenance && record.driver !== null,
  );
  const stale = expected.filter(({ record }) => {
    const { sampleAtMs, intervalMs, online } = record;
    return !online || sampleAtMs === null || -sampleAtMs > freshMsOf(intervalMs);
  });
  return { expected: expected.length, stale: stale.length, unheard: 0 };
}

/** What `targets` would name as the command that keeps this target in doubt. */
function unresolvedOf({ proposal, commands }: Case): GuardFacts['unresolved'] {
  const keeper = commands.find(
    ({ kind, state, node, guest }) =>
      state === 'INDETERMINATE' &&
      !['node.wake', 'guest.start', 'guest.stop', 'guest.scale'].includes(kind) &&
      (proposal.guest === null
        ? guest === null && node === proposal.node
        : guest === proposal.guest),
  );
  return keeper ? otherOf(keeper, 0) : null;
}

/** Open for one minute in four years, which is not now. */
const neverOpen: Window = {
  cron: '0 0 29 2 *',
  durationMs: 60_000,
  zone: 'Europe/Berlin',
  allow: CommandKind.options,
};

function houseOf({ cluster, nodes }: Case): GuardFacts['house'] {
  const { house } = cluster;
  if (house === null) return { residents: [], unknown: ['backend'] };
  const place = { cluster: 'home', part: 'backend', by: 'answer' } as const;
  const homeOf = (guest: string): string =>
    nodes.find(({ record }) => record.guests?.some(({ id }) => id === guest))?.record.node ?? '';
  return {
    residents: [
      ...house.nodes.map((node) => ({ ...place, node, guest: null })),
      ...house.guests.map((guest) => ({ ...place, node: homeOf(guest), guest })),
    ],
    unknown: [],
  };
}

export function serverFacts(question: Case): GuardFacts {
  const { proposal, cluster, nodes, commands } = question;
  const { kind, args } = proposal.action;
  const find = (id: string): NodeFact | null => {
    const node = nodes.find(({ record }) => record.node === id);
    return node ? nodeFactOf(node) : null;
  };
  const acting = nodes.find(({ record }) => record.node === proposal.node);
  const own = acting ? nodeFactOf(acting, cluster.votesStableMs) : null;
  const isNode = proposal.guest === null;
  const to = proposal.action.kind === 'guest.migrate' ? proposal.action.args.targetNode : null;
  const locked = nodes
    .find(({ record }) => record.node === proposal.node)
    ?.record.guests?.filter(({ lock }) => lock === 'migrate').length;
  const moving = commands.filter(
    (command) => command.kind === 'guest.migrate' && mayHaveBegun(command),
  );
  const guest = guestFactOf(question);
  const frozenForMs = cluster.frozenForMs ?? 0;
  const stormLeftMs = 300_000 - (cluster.stormAgoMs ?? 300_000);
  return sampleFacts(kind, {
    args: { ...args },
    origin: proposal.origin,
    nowMs,
    cluster: {
      id: 'home',
      simulated: cluster.simulated,
      hold: cluster.hold || cluster.holdAll,
      frozenUntilMs: nowMs + Math.max(frozenForMs, stormLeftMs),
      frozenReason: null,
    },
    limits: limitsFor(question),
    listeningForMs: cluster.backendUpMs,
    awake: { ...awakeOf(question), unheard: cluster.snapshotComplete ? 0 : 1 },
    windows: cluster.insideWindow ? [] : [neverOpen],
    house: houseOf(question),
    underWay: commands
      .filter((command) => command.kind !== 'node.wake' && mayHaveBegun(command))
      .map(otherOf),
    pausedUntilMs: question.pausedForMs === null ? null : nowMs + question.pausedForMs,
    power: own && isPowerOff(kind) ? powerOf(question, own) : null,
    guest,
    migrations:
      to === null
        ? null
        : {
            outgoing: Math.max(
              locked ?? 0,
              moving.filter(({ node }) => node === proposal.node).length,
            ),
            incoming: moving.filter(({ targetNode }) => targetNode === to).length,
          },
    epoch: cluster.leader ? epoch : epoch - 1,
    executorMaxEpoch: epoch,
    executor: kind === 'node.wake' ? wakerOf(question) : own,
    target:
      proposal.guest === null
        ? { kind: 'node', id: proposal.node }
        : { kind: 'guest', id: proposal.guest },
    targetNode: isNode ? own : null,
    guestNode: guest && proposal.node,
    destination: to === null ? null : { id: to, node: find(to), load: loadOf(question, to) },
    powerOffs: commands
      .filter((command) => isPowerOff(command.kind) && mayHaveBegun(command))
      .map(otherOf),
    powerOffsMax: powerOffsMax(question),
    unresolved: unresolvedOf(question),
  });
}

/** The first awake node that may send it (backend/act/executor.ts chooses more finely). */
function wakerOf({ nodes, proposal }: Case): NodeFact | null {
  const waker = nodes.find(
    ({ record }) =>
      record.node !== proposal.node &&
      record.online &&
      record.driver?.capabilities.includes('node.wake') === true,
  );
  return waker ? nodeFactOf(waker) : null;
}

function powerOffsMax({ nodes }: Case): number {
  const awake = nodes.filter(({ record }) => record.online).length;
  return awake < 20 ? 1 : Math.floor(awake / 10);
}

type Local = Parameters<typeof judge>[0];

/** With what goes with the grant, which only a server that allows it signs. */
export function localFacts({ proposal, local, nodes, cluster }: Case, allows: Allowance[]): Local {
  const own = nodes.find(({ record }) => record.node === proposal.node);
  const { kind } = proposal.action;
  // Facts that did not come within 5 s are missing (daemon/command/local-facts.ts).
  const isOld = local.ageMs >= 5_000;
  const nodeFacts = isOld ? null : local.facts;
  const counted = isOld ? null : (local.guests?.filter(isAlive).length ?? null);
  const args = commandArgs[kind].safeParse(proposal.action.args);
  const wanted: Local['wanted'] = {
    commandId: '01990000-0000-7000-8000-00000000000a',
    kind,
    target:
      proposal.guest === null
        ? { kind: 'node', id: proposal.node }
        : { kind: 'guest', id: proposal.guest },
    args: { ...(args.success ? args.data : proposal.action.args) },
    epoch: cluster.leader ? epoch : epoch - 1,
  };
  return {
    node: proposal.node,
    wanted,
    grant: {
      ...wanted,
      v: 1,
      type: 'grant',
      cluster: 'home',
      node: proposal.node,
      generation: 1,
      nonce: 'a'.repeat(32),
      simulated: own?.record.driver?.simulated ?? cluster.simulated,
      timeoutMs: 1_000,
      timeScale: 1,
      policyHash: null,
      allows,
    },
    driver: own?.record.driver ?? null,
    nodeFacts,
    guests: isOld ? null : local.guestFacts,
    runningGuests: nodeFacts?.runningGuests ?? counted,
    uptimeMs: own?.record.values?.uptimeMs ?? null,
    // It has watched for longer than this house has stood as it is.
    membersStableForMs: 3_600_000,
    guestSample: isOld ? null : (local.guests?.find(({ id }) => id === proposal.guest) ?? null),
    maxEpoch: epoch,
    policy: { ok: true, policy: { allow: null, protected: false } },
    isHeldHere: local.hold,
    isHeldByServer: cluster.hold || cluster.holdAll,
    isObserveOnly: false,
    wakers: 1,
    isTargetBusy: false,
    quarantined: null,
    hasReserve: true,
  };
}

/** The row of `targets` names at most one active command, and no claim passes it (I7). */
const isTargetTaken = ({ proposal, commands }: Case): boolean =>
  commands.some(
    (command) =>
      mayHaveBegun(command) &&
      command.state !== 'INDETERMINATE' &&
      (proposal.guest === null
        ? command.guest === null && command.node === proposal.node
        : command.guest === proposal.guest),
  );

export type Answer = { server: string[]; local: string | null };

export function productSays(question: Case): Answer {
  const facts = serverFacts(question);
  const { verdicts } = evaluate('GRANT', nowMs, facts);
  const denials = verdicts.flatMap(({ id, denial }) => (denial ? [id] : []));
  const allows = denials.length === 0 ? allowancesOf(facts) : [];
  return {
    server: isTargetTaken(question) ? [...denials, 'mutex'] : denials,
    local: judge(localFacts(question, allows))?.guard.id ?? null,
  };
}
