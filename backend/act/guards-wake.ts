/**
 * The guards of waking: never turn off what has not been proven to wake again (SAFETY W1 to W4),
 * and what a wake itself needs. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Fact } from '../decide/plan.ts';
import { type Guard, type GuardFacts, isFresh, judged, type Says } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';
import { isProof, proofsMin, type Way, waysTo } from './wake-ways.ts';

const wakersUsual = 2;

const isSleep = (kind: CommandKind): boolean => kind === 'node.shutdown';

export const wakeable: Guard = {
  id: 'wakeable',
  appliesTo: (kind) => kind === 'node.wake',
  verdict({ wake, targetNode }) {
    const facts: Fact[] = [
      { name: 'macs', value: wake?.macs ?? null },
      { name: 'targetOnline', value: targetNode?.online ?? null },
      { name: 'targetSampleAgeMs', value: targetNode?.sampleAgeMs ?? null, unit: 'ms' },
    ];
    // An awake machine does not mind a wake; one that left unheard must not be left asleep.
    if (targetNode && isFresh(targetNode)) {
      return judged('W1', facts, {
        code: 'KR_ALREADY_AWAKE',
        reason: `node ${targetNode.id} is awake`,
        wayOut: 'nothing needs to be done',
      });
    }
    return judged(
      'W1',
      facts,
      wake && wake.macs > 0
        ? null
        : {
            code: 'KR_NO_WAKER',
            reason: 'no network address of the target is known',
            wayOut: 'start its daemon once while it is awake, or name args.macs',
          },
    );
  },
};

/** A packet reaches only the networks of those cards that listen for it. */
const armedOnly = (facts: NodeFacts | null): NodeFacts | null =>
  facts?.links
    ? { ...facts, links: facts.links.filter(({ wakeOnMagic }) => wakeOnMagic === true) }
    : facts;

/** By whom and how the target could be woken, among those who are surely there to do it. */
function waysOf({ targetNode, power }: GuardFacts): Way[] {
  if (!targetNode || !power) return [];
  const candidates = power.neighbours
    .filter((node) => isFresh(node) && !power.inDoubt.includes(node.id))
    .map(({ id, driver, facts }) => ({
      id,
      canWake: driver?.capabilities.includes('node.wake') ?? false,
      facts,
    }));
  return waysTo({ id: targetNode.id, facts: armedOnly(targetNode.facts) }, candidates);
}

/** A person's typed word that nobody need wake it; no token, engine or system may say it. */
const isByHand = ({ origin, args, target }: GuardFacts): boolean =>
  origin === 'person' && args.switchOnByHand === target.id;

const wrongStatement: Says = {
  code: 'KR_STATEMENT',
  reason: 'args.switchOnByHand is not the id of this node, or no person says it',
  wayOut: 'a person types the id of the node there, or leaves it out',
};

const proven: Guard = {
  id: 'wake-proof',
  appliesTo: isSleep,
  verdict(facts) {
    const { power, limits, origin, args } = facts;
    const ways = new Set(waysOf(facts).map(({ by }) => by));
    const proofs = (power?.proofs ?? []).filter(({ waker }) => ways.has(waker));
    const best = proofs.toSorted((a, b) => b.succeeded - a.succeeded)[0];
    const inputs: Fact[] = [
      { name: 'wakeProof', value: limits.wakeProof },
      { name: 'origin', value: origin },
      { name: 'waker', value: best?.waker ?? null },
      { name: 'provenCycles', value: best?.succeeded ?? 0 },
      { name: 'youngestProofAgeMs', value: best?.youngestAgeMs ?? null, unit: 'ms' },
      { name: 'provingCampaign', value: power?.provingCampaign ?? null },
      { name: 'switchOnByHand', value: isByHand(facts) },
    ];
    if (args.switchOnByHand !== undefined && !isByHand(facts)) {
      return judged('W1', inputs, wrongStatement);
    }
    const isExcused = limits.wakeProof === 'assumed' || isByHand(facts);
    const isProving = (power?.provingCampaign ?? null) !== null;
    const isPassed = isExcused || isProving || proofs.some(isProof);
    return judged(
      'W1',
      inputs,
      isPassed
        ? null
        : {
            code: 'KR_WAKE_UNPROVEN',
            reason: `${best?.succeeded ?? 0} of ${proofsMin} cycles of sleep and wake are proven for what the node is today, the youngest at most 30 days old`,
            wayOut:
              'prove it with a person at hand: kernreaktor prove-wake <node> --cycles 3; who will switch it on by hand says so in args.switchOnByHand',
          },
    );
  },
};

/** Two that could send, or a magic packet and a BMC, which fail for different reasons. */
function wakePath(facts: GuardFacts, counts: (executor: string) => boolean = () => true) {
  const { targetNode, power } = facts;
  const ways = waysOf(facts).filter(({ isNear, executor }) => isNear && counts(executor));
  const isArmed = targetNode?.facts?.links?.some(({ wakeOnMagic }) => wakeOnMagic === true);
  const usable = ways.filter(({ by }) => by !== 'wol' || isArmed);
  const senders = new Set(usable.map(({ executor }) => executor)).size;
  const hasBoth = usable.some(({ by }) => by === 'wol') && usable.some(({ by }) => by !== 'wol');
  // In a house of two machines there is only one other to wake it.
  const needed = Math.min(wakersUsual, power?.neighbours.length ?? wakersUsual);
  return {
    isArmed: isArmed ?? null,
    senders,
    needed,
    isEnough: senders > 0 && (senders >= needed || hasBoth),
    isOutOfBand: ways.some(({ by }) => by !== 'wol'),
  };
}

const armed: Guard = {
  id: 'wake-path',
  appliesTo: isSleep,
  verdict(facts) {
    const { targetNode, limits } = facts;
    const { isArmed, senders, needed, isEnough, isOutOfBand } = wakePath(facts);
    const inputs: Fact[] = [
      { name: 'wakeOnMagic', value: isArmed },
      { name: 'awakeWakers', value: senders },
      { name: 'wakersNeeded', value: needed },
      { name: 'outOfBand', value: isOutOfBand },
      { name: 'wakeProof', value: limits.wakeProof },
      { name: 'switchOnByHand', value: isByHand(facts) },
    ];
    if (limits.wakeProof === 'assumed' || isByHand(facts)) return judged('W2', inputs, null);
    const disarmed: Says = {
      code: 'KR_WAKE_DISARMED',
      reason: `no network link of node ${targetNode?.id ?? 'unknown'} is known to answer a magic packet`,
      wayOut:
        'run `ethtool -s <link> wol g`, make it permanent, and enable Wake-on-LAN in the BIOS; or configure its BMC as a waker',
    };
    const alone: Says = {
      code: 'KR_NO_WAKER',
      reason: `${senders} awake nodes could wake it, ${needed} are needed, or one by magic packet and one by a BMC`,
      wayOut: 'keep more nodes with capability node.wake awake in its network, or add its BMC',
    };
    if (!isArmed && !isOutOfBand) return judged('W2', inputs, disarmed);
    return judged('W2', inputs, isEnough ? null : alone);
  },
};

const noTable: Says = {
  code: 'KR_NO_WAKE_TABLE',
  reason: 'a cluster this large keeps no wake table, so nobody would wake it without this server',
  wayOut: 'who will switch it on by hand says so in args.switchOnByHand; or split the cluster',
};

/** Fail awake: as many as must be able to wake it have its address on their disks, signed. */
const tableConfirmed: Guard = {
  id: 'wake-table',
  appliesTo: isSleep,
  verdict(facts) {
    const { power, limits } = facts;
    const table = power?.wakeTable ?? null;
    const holders = table?.holders ?? [];
    const { senders, needed, isEnough } = wakePath(facts, (id) => holders.includes(id));
    const inputs: Fact[] = [
      { name: 'tableHolders', value: holders.join(', ') || null },
      { name: 'confirmedWakers', value: senders },
      { name: 'wakersNeeded', value: needed },
      { name: 'isWokenByTable', value: table?.isWoken ?? null },
      { name: 'switchOnByHand', value: isByHand(facts) },
    ];
    const isExcused = limits.wakeProof === 'assumed' || isByHand(facts);
    if (isExcused || table?.isWoken === false) return judged('W2', inputs, null);
    if (table?.holders === null) return judged('W2', inputs, noTable);
    return judged(
      'W2',
      inputs,
      isEnough
        ? null
        : {
            code: 'KR_WAKE_TABLE',
            reason: `${senders} awake wakers hold the wake table of today with this node in it, ${needed} must: without this server nobody else would wake it`,
            wayOut: 'send it again in a minute, they have been told; see the logs of their daemons',
          },
    );
  },
};

const quarantine: Guard = {
  id: 'wake-quarantine',
  appliesTo: isPowerOff,
  verdict({ targetNode, power, nowMs }) {
    const barred = [targetNode, ...(power?.neighbours ?? [])].find(
      (node) => (node?.quarantinedUntilMs ?? 0) > nowMs,
    );
    const failing = power?.failingWakes[0] ?? null;
    const inputs: Fact[] = [
      { name: 'quarantined', value: barred?.id ?? null },
      { name: 'failingWake', value: failing?.target ?? null },
    ];
    if (failing && !barred) {
      return judged('W3', inputs, {
        code: 'KR_WAKE_FAILING',
        reason: `node ${failing.target} was to wake and has not come yet; nothing is switched off meanwhile`,
        wayOut: 'wait until it is awake, or resolve that wake when somebody has seen to it',
      });
    }
    return judged(
      'W3',
      inputs,
      barred
        ? {
            code: 'KR_WAKE_FAILED',
            reason: `node ${barred.id} was not woken when it should; nothing more is switched off here`,
            wayOut:
              'find out why, then an administrator lifts it: PATCH the cluster with frozen false',
          }
        : null,
    );
  },
};

const cycles: Guard = {
  id: 'power-cycles',
  appliesTo: isPowerOff,
  verdict({ targetNode, power, limits }) {
    const uptimeMs = targetNode?.uptimeMs ?? null;
    const cyclesToday = power?.cyclesToday ?? null;
    const inputs: Fact[] = [
      { name: 'uptimeMs', value: uptimeMs, unit: 'ms' },
      { name: 'minUptimeMs', value: limits.minUptimeMs, unit: 'ms' },
      { name: 'cyclesToday', value: cyclesToday },
      { name: 'powerCyclesPerDay', value: limits.powerCyclesPerDay },
    ];
    if ((uptimeMs ?? 0) < limits.minUptimeMs) {
      return judged('W4', inputs, {
        code: 'KR_UP_TOO_SHORT',
        reason: `the node is up for ${uptimeMs ?? 'an unknown number of'} ms, less than ${limits.minUptimeMs} ms`,
        wayOut: 'wait; machines are not switched off soon after they were switched on',
      });
    }
    return judged(
      'W4',
      inputs,
      cyclesToday !== null && cyclesToday < limits.powerCyclesPerDay
        ? null
        : {
            code: 'KR_TOO_MANY_CYCLES',
            reason: `the node was switched off ${cyclesToday ?? 'unknown'} times within a day`,
            wayOut: `wait; at most ${limits.powerCyclesPerDay} times a day`,
          },
    );
  },
};

/** The engine puts nothing to sleep that was busy of late; the break-even against boot energy and
 * start counters is the engine's own to judge before it proposes. */
const idle: Guard = {
  id: 'idle',
  appliesTo: isSleep,
  verdict({ power, limits, origin, targetNode, nowMs }) {
    const busiest = power?.load?.cpuRatio ?? null;
    const keptUntilMs = targetNode?.keepAwakeUntilMs ?? null;
    const isBound = origin === 'engine' && limits.loadWindowMs > 0;
    const inputs: Fact[] = [
      { name: 'origin', value: origin },
      { name: 'cpuRatioP95', value: busiest },
      { name: 'idleCpuRatio', value: limits.idleCpuRatio },
      { name: 'keepAwakeUntilMs', value: keptUntilMs },
    ];
    if (origin === 'engine' && (keptUntilMs ?? 0) > nowMs) {
      return judged('W4', inputs, {
        code: 'KR_KEPT_AWAKE',
        reason: `somebody asked to keep node ${targetNode?.id ?? 'unknown'} awake`,
        wayOut: 'wait until that is over, or send the command yourself',
      });
    }
    return judged(
      'W4',
      inputs,
      !isBound || (busiest !== null && busiest < limits.idleCpuRatio)
        ? null
        : {
            code: 'KR_NOT_IDLE',
            reason: `p95 of its cpu over the last 40 minutes is ${busiest ?? 'not known'}, idle is below ${limits.idleCpuRatio}`,
            wayOut: 'wait until it has been idle for long enough',
          },
    );
  },
};

export const sleepGuards: readonly Guard[] = [
  quarantine,
  proven,
  armed,
  tableConfirmed,
  cycles,
  idle,
];
