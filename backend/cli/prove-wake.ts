/**
 * `kernreaktor prove-wake <node>`: asks the server to show, with a person at hand, that a node
 * comes back when it is woken, and tells that person what happens. It decides nothing; ending it
 * asks the server to switch the node off no more, and never leaves it asleep.
 */
import { z } from 'zod';
import type { Clock } from '../../broker/contract/ports.ts';
import type { ClientApi } from './api.ts';
import { pause } from '../pause.ts';
import { confirmed, withProof } from './proof.ts';

const Campaign = z.object({
  id: z.string(),
  state: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
  phase: z.string(),
  waker: z.string(),
  cycles: z.number(),
  proven: z.number(),
  why: z.string(),
});
const Standing = z.object({
  isProven: z.boolean(),
  ways: z.array(z.object({ executor: z.string(), by: z.string() })),
  proofs: z.array(
    z.object({ waker: z.string(), succeeded: z.number(), bootMs: z.number().nullable() }),
  ),
  campaign: Campaign.nullable(),
});
type Standing = z.infer<typeof Standing>;
const Nodes = z.object({ items: z.array(z.object({ id: z.string(), cluster: z.string() })) });

export type ProveWakeOptions = {
  /** `<node>`, or `<cluster>/<node>` where two clusters have one of that name. */
  node: string;
  cycles: number;
  waker: string;
  /** The node's id, typed beforehand by whoever runs this from a script. */
  confirm: string | undefined;
};

export type Person = {
  say(line: string): void;
  /** null: nobody is there to answer. */
  ask(question: string): Promise<string | null>;
  askSecret(question: string): Promise<string | null>;
};

type Deps = { api: ClientApi; person: Person; clock: Clock; signal: AbortSignal };

const pollEveryMs = 2_000;

export class ProveWakeRefused extends Error {
  override readonly name = 'ProveWakeRefused';
  readonly code = 'KR_PROVE_WAKE';
}

async function findNode(api: ClientApi, wanted: string): Promise<{ cluster: string; id: string }> {
  const [cluster, id] = wanted.includes('/') ? wanted.split('/', 2) : [undefined, wanted];
  if (cluster !== undefined) return { cluster, id: id ?? '' };
  const { items } = await api.ask(Nodes, { method: 'GET', path: '/api/v1/nodes?limit=5000' });
  const found = items.filter((node) => node.id === id);
  const [only] = found;
  if (only && found.length === 1) return only;
  throw new ProveWakeRefused(
    only
      ? `${found.length} clusters have a node ${id}: write ${found.map((node) => `${node.cluster}/${node.id}`).join(' or ')}`
      : `no node ${id}: GET /api/v1/nodes lists those there are`,
  );
}

function announce(person: Person, standing: Standing, options: ProveWakeOptions): void {
  const ways = standing.ways.map(({ executor, by }) => `${by} from ${executor}`).join(', ');
  person.say(`ways to wake it: ${ways || 'none is known'}`);
  person.say(
    `It will be switched off and woken ${options.cycles} times by ${options.waker}. Every other ` +
      'guard stands, so it must be empty and its cluster must be able to spare it; with the usual ' +
      'limits this takes about an hour per cycle. Stay near: if it does not come back, switch it ' +
      'on by hand.',
  );
}

async function begin(deps: Deps, path: string, options: ProveWakeOptions, confirm: string) {
  const { cycles, waker } = options;
  return withProof(deps.person, (proof) =>
    deps.api.ask(Standing, { method: 'POST', path, body: { cycles, waker, confirm, ...proof } }),
  );
}

const progressOf = ({ proven, cycles, why }: z.infer<typeof Campaign>): string =>
  `${proven} of ${cycles} cycles proven; ${why}`;

async function follow(deps: Deps, path: string, begun: Standing): Promise<Standing> {
  let standing = begun;
  let last = '';
  let isGivenUp = false;
  while (standing.campaign?.state === 'running') {
    const progress = progressOf(standing.campaign);
    if (progress !== last) deps.person.say(progress);
    last = progress;
    if (deps.signal.aborted && isGivenUp) return standing;
    if (deps.signal.aborted) {
      isGivenUp = true;
      standing = await deps.api.ask(Standing, { method: 'DELETE', path });
      deps.person.say('it is not switched off again; if it sleeps now, it is still woken');
      continue;
    }
    await pause(deps, pollEveryMs);
    if (deps.signal.aborted) continue;
    standing = await deps.api.ask(Standing, { method: 'GET', path });
  }
  return standing;
}

/** `isDone`: this campaign has proven the node. `standing` is the server's last word. */
export type Proven = { isDone: boolean; cluster: string; node: string; standing: Standing };

export async function proveWake(options: ProveWakeOptions, deps: Deps): Promise<Proven> {
  const { api, person } = deps;
  const { cluster, id } = await findNode(api, options.node);
  const path = `/api/v1/clusters/${encodeURIComponent(cluster)}/nodes/${encodeURIComponent(id)}/wake-proofs`;
  const before = await api.ask(Standing, { method: 'GET', path });
  if (before.campaign?.state !== 'running') announce(person, before, options);
  const begun =
    before.campaign?.state === 'running'
      ? before
      : await begin(
          deps,
          path,
          options,
          await confirmed(person, { what: 'name of the node', id, given: options.confirm }),
        );
  const ended = await follow(deps, path, begun);
  const { campaign, proofs } = ended;
  const boot = proofs.find(({ waker }) => waker === campaign?.waker)?.bootMs ?? null;
  person.say(`${campaign?.state ?? 'gone'}: ${campaign?.why ?? 'no campaign is known'}`);
  if (ended.isProven) {
    const took = boot === null ? '' : `; it took ${Math.round(boot / 1_000)} s to come back`;
    person.say(`${cluster}/${id} may sleep from now on, for 30 days${took}`);
  }
  const isDone = ended.isProven && campaign?.state === 'succeeded';
  return { isDone, cluster, node: id, standing: ended };
}
