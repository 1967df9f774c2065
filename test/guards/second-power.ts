/**
 * Second implementation of SAFETY 2.4, W1 to W5, written from its text alone. Waking is the cheap
 * direction: only W5's spacing and the mutex of the target bound it.
 */
import type { Case, CaseNode, PastCommand, Rule, WakeBinding, WakeProof } from './case.ts';
import {
  day,
  isAutomatic,
  isFresh,
  kindOf,
  mayStillHappen,
  minute,
  second,
  stopsNode,
  target,
} from './second-words.ts';

/** What the node's own facts say of every way it could be woken by a magic packet. */
function currentBindings({ record }: CaseNode, waker: string | null): WakeBinding[] {
  return (record.facts?.links ?? []).map((link) => ({
    mac: link.mac,
    nicDriver: link.driver,
    kernel: record.facts?.kernel ?? null,
    biosVersion: record.facts?.biosVersion ?? null,
    waker,
    wakeOnMagic: link.wakeOnMagic,
  }));
}

/** Firmware and card driver may have no name; they must then have none today as well. */
const isWhole = ({ mac, kernel, waker, wakeOnMagic }: WakeBinding): boolean =>
  mac !== null && kernel !== null && waker !== null && wakeOnMagic === true;

const same = (left: WakeBinding, right: WakeBinding): boolean =>
  left.mac === right.mac &&
  left.nicDriver === right.nicDriver &&
  left.kernel === right.kernel &&
  left.biosVersion === right.biosVersion &&
  left.waker === right.waker &&
  left.wakeOnMagic === right.wakeOnMagic;

/** A BMC or a plug asks no network card, so its proof is bound to the machine alone. */
function isProvenOutOfBand({ record, managementWaker }: CaseNode, binding: WakeBinding): boolean {
  const { kernel = null, biosVersion = null } = record.facts ?? {};
  const isOutOfBand = binding.waker !== null && binding.waker !== 'wol';
  const isSame = binding.kernel === kernel && binding.biosVersion === biosVersion;
  return isOutOfBand && managementWaker && kernel !== null && isSame;
}

/** Cycles that prove the node as it is now; a change of anything they are bound to voids them. */
export function validProofs(question: Case, node: CaseNode): WakeProof[] {
  return question.proofs.filter(
    (proof) =>
      proof.node === node.record.node &&
      proof.succeeded &&
      proof.bootMs !== null &&
      proof.bootMs <= 10 * minute &&
      (isProvenOutOfBand(node, proof.binding) ||
        (isWhole(proof.binding) &&
          currentBindings(node, proof.binding.waker).some((now) => same(now, proof.binding)))),
  );
}

/** A person typed that nobody need wake it: then what W1 and W2 protect is waived by name. */
export const isByHand = ({ proposal }: Case): boolean =>
  proposal.origin === 'person' &&
  proposal.action.kind === 'node.shutdown' &&
  proposal.action.args.switchOnByHand === proposal.node;

export const w1: Rule = (question) => {
  if (kindOf(question) !== 'node.shutdown') return null;
  const node = target(question);
  if (!node) return 'the node is not known';
  if (isByHand(question)) return null;
  // A cycle of a campaign that a person began and watches, whoever sends its steps.
  if (question.proposal.proving) return null;
  if (question.cluster.simulated && question.cluster.wakeProof === 'assumed') return null;
  const proofs = validProofs(question, node);
  if (proofs.length < 3) return `${proofs.length} of 3 cycles are proven`;
  return proofs.some(({ agoMs }) => agoMs <= 30 * day) ? null : 'the proof is too old';
};

const networks = ({ record }: CaseNode): Set<string> =>
  new Set((record.facts?.links ?? []).flatMap(({ broadcast }) => broadcast ?? []));

export const w2: Rule = (question) => {
  if (kindOf(question) !== 'node.shutdown') return null;
  if (question.cluster.simulated && question.cluster.wakeProof === 'assumed') return null;
  if (isByHand(question)) return null;
  const node = target(question);
  const own = node?.record.facts?.links;
  if (!node || !own) return 'its network cannot be read';
  const armed = own.filter(({ wakeOnMagic, broadcast }) => wakeOnMagic === true && broadcast);
  if (armed.length === 0 && !node.managementWaker) return 'the card is not armed';
  const near = new Set(armed.map(({ broadcast }) => broadcast));
  const wakers = question.nodes.filter(
    (other) =>
      other !== node &&
      isFresh(other) &&
      other.record.driver?.capabilities.includes('node.wake') === true &&
      (node.managementWaker || [...networks(other)].some((network) => near.has(network))) &&
      !question.commands.some(
        (command) => command.node === other.record.node && isPowerOff(command) && isOpen(command),
      ),
  );
  const least = node.managementWaker ? 1 : question.cluster.wakersMin;
  if (wakers.length < least) return `${wakers.length} of ${least} wakers`;
  // DESIGN 4, fail awake: the table is confirmed on as many before any sleep. Under maintenance it
  // is off because somebody wants that, and no table names it.
  if (node.record.maintenance) return null;
  const told = wakers.filter(({ holdsWakeTable }) => holdsWakeTable).length;
  return told >= least ? null : `${told} of ${least} wakers hold the wake table`;
};

const isOpen = mayStillHappen;
const isPowerOff = ({ kind }: PastCommand): boolean => stopsNode(kind);

/** One failed wake puts its node away for 30 days and ends power-offs of the whole cluster. */
export const w3: Rule = (question) => {
  if (kindOf(question) !== 'node.shutdown') return null;
  const away = question.nodes.find(
    ({ quarantinedForMs }) => quarantinedForMs !== null && quarantinedForMs > 0,
  );
  if (away) return `a wake of ${away.record.node} failed`;
  return null;
};

const cyclesPerDay = 4;
const idleRatio = 0.2;

export const w4: Rule = (question) => {
  if (kindOf(question) !== 'node.shutdown') return null;
  const node = target(question);
  const uptimeMs = node?.record.values?.uptimeMs ?? null;
  if (!node || uptimeMs === null || uptimeMs < 30 * minute) return 'up for less than 30 min';
  const today = question.commands.filter(
    (command) =>
      command.node === node.record.node &&
      command.kind === 'node.shutdown' &&
      command.startedAgoMs < day &&
      (command.state === 'SUCCEEDED' || isOpen(command)),
  );
  if (today.length >= cyclesPerDay) return 'four cycles today';
  if (!isAutomatic(question)) return null;
  if (node.keepAwakeForMs !== null && node.keepAwakeForMs > 0) return 'asked to stay awake';
  // An hour of it holds the 40 minutes that are asked for.
  return node.usage && node.usage.cpuRatioP95 < idleRatio ? null : 'not idle for 40 min';
};

function atOnce(question: Case): number {
  const awake = question.nodes.filter(isFresh).length;
  return awake >= 20 ? Math.floor(awake / 10) : 1;
}

/** Nodes behind one supply, or in one rack, never go together. */
function sharesSupply(question: Case, command: PastCommand): boolean {
  const own = target(question)?.record.facts;
  const other = question.nodes.find(({ record }) => record.node === command.node)?.record.facts;
  if (!own || !other) return true;
  return (
    (own.powerGroup !== null && own.powerGroup === other.powerGroup) ||
    (own.rack !== null && own.rack === other.rack)
  );
}

export const w5: Rule = (question) => {
  const kind = kindOf(question);
  if (kind === 'node.wake') {
    const close = question.commands.some(
      (command) => command.kind === kind && command.startedAgoMs < 10 * second,
    );
    return close ? 'a wake less than 10 s ago' : null;
  }
  if (!stopsNode(kind)) return null;
  const offs = question.commands.filter(isPowerOff);
  const open = offs.filter(isOpen);
  if (open.some(({ state }) => state === 'INDETERMINATE')) return 'one may have happened';
  if (open.length >= atOnce(question)) return 'one is under way';
  if (open.some((command) => sharesSupply(question, command))) return 'they share a supply';
  return null;
};
