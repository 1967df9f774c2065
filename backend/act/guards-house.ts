/**
 * The guards of our own house (SAFETY C3) and of time: the node that carries Kernreaktor is never
 * switched off or drained, its own container never moves, its own VM only live, last and alone;
 * and what a change window shuts stays shut (A1). Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Fact } from '../decide/plan.ts';
import { localTime, windowVerdict } from '../decide/windows.ts';
import { type Guard, type GuardFacts, judged, type Says } from './guard.ts';
import type { Resident } from './house.ts';
import { isPowerOff, occupiesPlace } from './lifecycle.ts';

const takesNode = (kind: CommandKind): boolean => isPowerOff(kind) || kind === 'node.drain';

const inhabitants = ({ house, cluster }: GuardFacts, node: string | null): Resident[] =>
  house.residents.filter((one) => one.cluster === cluster.id && one.node === node);

const described = ({ part, guest }: Resident): string =>
  guest === null ? part : `${part} in guest ${guest}`;

const ownNode: Guard = {
  id: 'own-house',
  appliesTo: takesNode,
  verdict(facts) {
    const { target, house, cluster, kind } = facts;
    const here = inhabitants(facts, target.id);
    const inputs: Fact[] = [
      { name: 'residents', value: here.map(described).join(', ') || null },
      { name: 'unknownParts', value: house.unknown.join(', ') || null },
    ];
    if (here.length > 0) {
      return judged('C3', inputs, {
        code: 'KR_PROTECTED',
        reason: `node ${target.id} carries Kernreaktor's own ${here.map(described).join(', ')}`,
        wayOut:
          kind === 'node.drain'
            ? 'move its other guests one by one; what carries Kernreaktor is not drained by it'
            : 'move those to another node by hand first; the node that carries them stays on',
      });
    }
    // A simulated node carries nobody.
    const isOpen = house.unknown.length > 0 && !cluster.simulated;
    return judged(
      'C3',
      inputs,
      isOpen
        ? {
            code: 'KR_OWN_HOUSE',
            reason: `it is not known which machine carries Kernreaktor's own ${house.unknown.join(', ')}`,
            wayOut:
              'say it once: KR_OWN_HOUSE=<cluster>/<node>[/<guest>] or elsewhere, or PUT /api/v1/own-house',
          }
        : null,
    );
  },
};

const endings: ReadonlySet<CommandKind> = new Set(['guest.stop', 'guest.restart', 'guest.delete']);

/** Live, last, alone: nothing else runs where it leaves, and nothing else is under way. */
function moveDenial(facts: GuardFacts, who: string): Says | null {
  const { guest, args, executor, underWay } = facts;
  const says = (reason: string, wayOut: string): Says => ({ code: 'KR_OWN_HOUSE', reason, wayOut });
  if (guest?.sample.kind !== 'vm') {
    return says(`the container carries ${who}, and containers move by a restart`, 'leave it there');
  }
  if (guest.sample.state !== 'running' || args.online === false) {
    return says(`the guest carries ${who} and moves only live`, 'send args.online true');
  }
  const running = executor?.runningGuests ?? null;
  const others = running === null ? null : running - 1;
  if (others !== 0) {
    const count = others ?? 'an unknown number of';
    return says(
      `the guest carries ${who} and leaves last; ${count} others run there`,
      'move those',
    );
  }
  const [first] = underWay;
  return first
    ? says(`the guest carries ${who} and moves alone; ${first.kind} is under way`, 'wait for it')
    : null;
}

const ownGuest: Guard = {
  id: 'own-guest',
  appliesTo: (kind) => kind === 'guest.migrate' || endings.has(kind),
  verdict(facts) {
    const { house, cluster, target, kind } = facts;
    const parts = house.residents
      .filter((one) => one.cluster === cluster.id && one.guest === target.id)
      .map(({ part }) => part);
    const inputs: Fact[] = [
      { name: 'residents', value: parts.join(', ') || null },
      { name: 'runningGuestsThere', value: facts.executor?.runningGuests ?? null },
      { name: 'underWay', value: facts.underWay.length },
    ];
    if (parts.length === 0) return judged('C3', inputs, null);
    const who = `Kernreaktor's own ${parts.join(', ')}`;
    return judged(
      'C3',
      inputs,
      endings.has(kind)
        ? {
            code: 'KR_OWN_HOUSE',
            reason: `the guest carries ${who}; ${kind} would end it`,
            wayOut: "use the hypervisor's own tools while somebody watches",
          }
        : moveDenial(facts, who),
    );
  },
};

type WindowSays = Says & { code: `KR_${string}` };

const unreadable: WindowSays = {
  code: 'KR_WINDOW_UNKNOWN',
  reason: 'the change windows of the cluster cannot be read',
  wayOut: 'correct its policy; kernreaktor config check names line and column',
};

type Moment = Pick<GuardFacts, 'windows' | 'kind' | 'nowMs'>;

export function windowSays({ windows, kind, nowMs }: Moment): WindowSays | null {
  if (windows === null) return unreadable;
  const verdict = windowVerdict(windows, kind, nowMs);
  if (verdict.isOpen) return null;
  const { by, untilMs } = verdict;
  const until = untilMs === null ? 'the policy changes' : localTime(untilMs, by.zone);
  return {
    code: 'KR_WINDOW',
    reason: `${kind} is outside of its change window (${by.allow ? 'allow' : 'deny'} ${by.cron} ${by.zone})`,
    wayOut: `wait until ${until}, or change the windows of the policy`,
  };
}

/** The engine in everything, and everybody in what takes a node away; a wake never. */
const changeWindow: Guard = {
  id: 'change-window',
  appliesTo: (kind) => kind !== 'node.wake',
  verdict(facts) {
    const { windows, origin, kind, nowMs } = facts;
    const isBound = origin === 'engine' || isPowerOff(kind);
    return judged(
      'A1',
      [
        { name: 'windows', value: windows?.length ?? null },
        { name: 'origin', value: origin },
        { name: 'atMs', value: nowMs, unit: 'ms' },
      ],
      isBound ? windowSays(facts) : null,
    );
  },
};

const commandsAtOnce: Guard = {
  id: 'commands-at-once',
  // What people ask for waits for its turn; a wake has none to wait for.
  appliesTo: (kind) => kind !== 'node.wake',
  verdict({ underWay, limits, origin }) {
    const places = underWay.filter(occupiesPlace).length;
    return judged(
      'V7',
      [
        { name: 'underWay', value: places },
        { name: 'commandsAtOnce', value: limits.commandsAtOnce },
      ],
      origin === 'engine' && places >= limits.commandsAtOnce
        ? {
            code: 'KR_COMMANDS_AT_ONCE',
            reason: `${places} commands of the cluster are under way, at most ${limits.commandsAtOnce} may be`,
            wayOut: 'wait until one has ended, or resolve one that is INDETERMINATE',
          }
        : null,
    );
  },
};

export const houseGuards: readonly Guard[] = [ownNode, ownGuest];
export const timeGuards: readonly Guard[] = [changeWindow, commandsAtOnce];
