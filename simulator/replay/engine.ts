/**
 * The engine itself in a replay: the same `observe`, `decide` and `record` that production runs,
 * fed with records as daemons would send them. It sees samples up to now and nothing later. Where
 * hosts start in an instant, a plan that wakes one is followed by another look at the same moment.
 */
import { silentNode } from '../../broker/contract/telemetry.ts';
import { decide } from '../../backend/decide/decide.ts';
import { emptyHistory, observe, record } from '../../backend/decide/history.ts';
import type { Policy } from '../../backend/decide/policy.ts';
import type { NodeRecord } from '../../backend/state/fleet.ts';
import { unseenNode } from '../../backend/state/reduce.ts';
import type { ReplayPolicy } from './policy.ts';
import { clusterAt, guestAt, nodeAt, type Seen } from './records.ts';
import type { HostModel } from './specs.ts';
import { ramAt, sampleAt } from './trace.ts';
import type { Move, ReplayWorld } from './world.ts';

const cluster = clusterAt('replay');

/** Looks at one moment: each wake may need another, and each look wakes at least one. */
const looksMax = 8;
const megabyte = 2 ** 20;

const nameOf = (place: number): string => `h${String(place).padStart(4, '0')}`;

function recordsOf(world: ReplayWorld, reference: HostModel): NodeRecord[] {
  return world.hosts.modelOf.map((model, place) => ({
    ...unseenNode(cluster.id, nameOf(place)),
    intervalMs: 300_000,
    ...nodeAt(model, reference, { memoryBytes: Number.MAX_SAFE_INTEGER, members: null }),
  }));
}

/** What the daemons of all hosts would have said at this tick. */
function tell(
  world: ReplayWorld,
  records: readonly NodeRecord[],
  seen: Seen,
  awakened: ReadonlySet<number>,
): void {
  const { trace, hosts } = world;
  records.forEach((node, place) => {
    const guests = world.guestsOf[place]!;
    const { coreMips, mips } = hosts.modelOf[place]!;
    let asked = 0;
    node.guests = guests.map((guest) => {
      const wanted = sampleAt(trace, guest, seen.sample) * trace.mips[guest]!;
      asked += wanted;
      return guestAt(seen.names[guest]!, {
        cpuCount: trace.cores[guest]!,
        cpuRatio: wanted / (coreMips * trace.cores[guest]!),
        memoryBytes: trace.ramMb[guest]! * megabyte,
        memoryUsedBytes: ramAt(trace, guest, seen.sample) * megabyte,
      });
    });
    const isAwake = guests.length > 0 || awakened.has(place);
    node.desired = isAwake ? 'awake' : 'asleep';
    node.online = isAwake;
    node.sampleAtMs = isAwake ? seen.atMs : null;
    node.sampledAtWallMs = node.sampleAtMs;
    node.values = { ...silentNode, ...node.values, cpuRatio: asked / mips };
  });
}

export function enginePolicy(policy: Policy, name = 'kernreaktor'): ReplayPolicy {
  const history = emptyHistory();
  let records: NodeRecord[] | null = null;
  let names: string[] = [];
  return {
    name,
    decide(world, tick) {
      const { trace, hosts } = world;
      if (records === null) {
        const reference = hosts.modelOf.toSorted((a, b) => b.coreMips - a.coreMips)[0]!;
        records = recordsOf(world, reference);
        names = trace.guestNames.map((_, guest) => `g${guest}`);
      }
      const known = records;
      const look = (sample: number, awakened: ReadonlySet<number>): number => {
        const atMs = sample * trace.stepSeconds * 1000;
        tell(world, known, { sample, atMs, names }, awakened);
        observe(history, { cluster, nodes: known }, policy, atMs);
        return atMs;
      };
      if (tick === 0) look(0, new Set());
      const awakened = new Set<number>();
      const moves: Move[] = [];
      for (let looks = 0; looks < looksMax; looks += 1) {
        const nowMs = look(tick + 1, awakened);
        const plan = decide({ cluster, nodes: known }, policy, history, nowMs);
        record(history, plan, nowMs);
        const wakes = plan.intents.filter(({ action }) => action.kind === 'node.wake');
        const found = plan.intents.flatMap(({ target, action }): Move[] =>
          action.kind === 'guest.migrate'
            ? [{ guest: Number(target.id.slice(1)), to: Number(action.args.targetNode.slice(1)) }]
            : [],
        );
        if (wakes.length === 0 || looks === looksMax - 1) return [...moves, ...found];
        for (const { target } of wakes) awakened.add(Number(target.id.slice(1)));
      }
      return moves;
    },
  };
}
