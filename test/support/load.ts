/**
 * Work for a server under test: wishes for guest commands, drawn by seed and sent through the API
 * as a client would that never gives up: the same Idempotency-Key until there is an answer. What
 * the server accepted is remembered, so that nothing it forgets goes unseen.
 */
import { randomUUID } from 'node:crypto';
import { chance, pauseMs } from './experiment.ts';
import type { Stack } from './stack.ts';

type Guest = {
  cluster: string;
  id: string;
  kind: string;
  node: string;
  state: string;
  cpuCount: number | null;
};
type Node = { cluster: string; id: string; online: boolean };

export type Load = {
  /** Ids the server has accepted. */
  accepted: Set<string>;
  counts: { sent: number; accepted: number; refused: number; repeated: number };
  refusals: Map<string, number>;
  /** Answers of the API in ms, those that were given while the server could not do its work too. */
  answers: { status: number; ms: number; atMs: number }[];
  /** Sends nothing more; resolves when the last answer is there. */
  stop(): Promise<void>;
};

export type LoadOptions = {
  seed: number;
  /** Clients side by side; each waits for its answer before it wishes again. */
  clients: number;
  pauseBetweenMs: number;
  /** Ends by itself after so many were accepted. */
  countMax?: number;
  onlyClusters?: (cluster: string) => boolean;
};

const kinds = ['guest.stop', 'guest.start', 'guest.restart', 'guest.scale', 'guest.migrate'];
const refreshEveryMs = 2_000;

/** A list of the API as a whole; the server may be away for now. */
async function listOf<T>(stack: Stack, what: string): Promise<T[] | undefined> {
  try {
    return (await stack.api.get<{ items: T[] }>(`${what}?limit=5000`)).items;
  } catch {
    return undefined;
  }
}

export function startLoad(stack: Stack, options: LoadOptions): Load {
  const { onlyClusters = () => true, countMax = Infinity } = options;
  const draw = chance(options.seed);
  let [guests, nodes] = [[] as Guest[], [] as Node[]];
  const run = { isOver: false };
  const load: Omit<Load, 'stop'> = {
    accepted: new Set(),
    counts: { sent: 0, accepted: 0, refused: 0, repeated: 0 },
    refusals: new Map(),
    answers: [],
  };

  function wish(): object | undefined {
    const guest = draw.pick(guests);
    if (!guest) return undefined;
    const { cluster, id, node } = guest;
    const kind = guest.state === 'running' ? draw.pick(kinds) : 'guest.start';
    const others = nodes.filter((one) => one.cluster === cluster && one.id !== node && one.online);
    const target = draw.pick(others);
    if (kind === 'guest.migrate' && !target) return undefined;
    const args =
      kind === 'guest.migrate'
        ? { targetNode: target?.id, ...(guest.kind === 'container' && { online: false }) }
        : kind === 'guest.scale'
          ? { cpuCount: (guest.cpuCount ?? 1) === 1 ? 2 : 1 }
          : {};
    return { cluster, kind, node, guest: id, args };
  }
  /** Until it is accepted or refused for a reason; a server that is away is asked again. */
  async function send(body: object): Promise<void> {
    const headers = { 'idempotency-key': randomUUID() };
    load.counts.sent += 1;
    for (let attempt = 0; ; attempt += 1) {
      const startMs = performance.now();
      const answer = await stack.api
        .send('POST', '/api/v1/commands', { body, headers })
        .catch(() => undefined);
      const status = answer?.status ?? 0;
      const atMs = performance.now();
      load.answers.push({ status, ms: atMs - startMs, atMs });
      if (status === 202) {
        load.counts.accepted += 1;
        return void load.accepted.add(String(answer?.body['id']));
      }
      if (status >= 400 && status < 500 && status !== 429) {
        load.counts.refused += 1;
        const code = String(answer?.body['code']);
        return void load.refusals.set(code, (load.refusals.get(code) ?? 0) + 1);
      }
      load.counts.repeated += 1;
      if (run.isOver && attempt > 200) return;
      await pauseMs(50 + draw.below(100));
    }
  }
  async function client(): Promise<void> {
    while (!run.isOver && load.counts.accepted < countMax) {
      const body = wish();
      if (body) await send(body);
      await pauseMs(options.pauseBetweenMs * (0.5 + draw.ratio()));
    }
  }
  async function refresh(): Promise<void> {
    while (!run.isOver) {
      guests = ((await listOf<Guest>(stack, 'guests')) ?? guests).filter(({ cluster }) =>
        onlyClusters(cluster),
      );
      nodes = (await listOf<Node>(stack, 'nodes')) ?? nodes;
      await pauseMs(guests.length === 0 ? 200 : refreshEveryMs);
    }
  }
  const refreshing = refresh();
  const clients = Promise.all(Array.from({ length: options.clients }, client));
  return {
    ...load,
    async stop() {
      run.isOver = true;
      await clients;
      await refreshing;
    },
  };
}
