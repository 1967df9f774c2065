/**
 * R12: two backends on one MariaDB; the leader is stopped (SIGSTOP) at a random moment under
 * work, the other takes over, the stopped one comes back and finds itself deposed. Each epoch has
 * one leader, no grant of a deposed epoch is committed, every effect begins once.
 *
 * For many takeovers both clocks, the backends' and the store's as they read it, run 10 times as
 * fast, which makes the lease of 10 s one of 1 s; figures are real milliseconds.
 * `r12-default.ts` is the same at the pace of a real house.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSigner } from '../../backend/act/signer.ts';
import { ensureCluster, ensureNodes } from '../../backend/store/sql/clusters.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { nodeKey, uuidv7 } from '../../broker/contract/ids.ts';
import { createTwin, nodeRecord, type Twin } from '../backend/act/twin.ts';
import {
  fastClock,
  type FromBackend,
  type Layout,
  systemRandom,
  type ToBackend,
} from '../support/backend-process.ts';
import { judge, openStore, settled } from '../support/checker.ts';
import {
  chance,
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  spread,
  upperBound,
} from '../support/experiment.ts';
import { startMariadb, until } from '../support/servers.ts';

const layout: Layout = {
  clusters: { a: ['n1', 'n2'], b: ['n1', 'n2'] },
  guests: Object.fromEntries(
    ['a', 'b'].flatMap((cluster) =>
      Array.from({ length: 12 }, (_, index) => [`${cluster}/${100 + index}`, 'n1']),
    ),
  ),
};
/** 15 s at the default lease; what MariaDB itself waits for (3 s idle, 2 s lock) is never scaled. */
const takeoverMaxMs = (speed: number): number => (speed === 1 ? 15_000 : 15_000 / speed + 6_000);
const owners = ['backend-a', 'backend-b'];

type Backend = { owner: string; child: ChildProcess; send(message: ToBackend): void };
type Grant = { owner: string; cluster: string; commandId: string; epoch: number };
/** What the nodes of both clusters saw, in one place. */
type Nodes = {
  effects: { commandId: string; effect: 'start' }[];
  grants: Grant[];
  accepted: Set<string>;
  warnings: Map<string, number>;
};

type Links = Parameters<typeof createTwin>[2];

function startNodes(backends: Backend[], keys: Links['keys'], speed: number) {
  const clock = fastClock(speed);
  const newId = () => uuidv7(Date.now(), systemRandom.bytes(16));
  const fleet = emptyFleet();
  const began: { commandId: string; kind: string; atMs: number }[] = [];
  const violations: string[] = [];
  const twins = new Map<string, Twin>();
  for (const [cluster, names] of Object.entries(layout.clusters)) {
    for (const node of names) {
      fleet.nodes.set(nodeKey(cluster, node), nodeRecord(cluster, node));
      const links: Links = {
        clock,
        random: systemRandom,
        newId,
        keys,
        fleet,
        effects: began,
        violations,
        send: (message) => {
          for (const backend of backends) backend.send({ type: 'hear', message });
        },
        isOff: () => false,
        arrival: () => ({}),
        powerOff: () => undefined,
        powerOn: () => undefined,
        isReal: false,
        look: undefined,
      };
      twins.set(nodeKey(cluster, node), createTwin(node, cluster, links));
    }
  }
  const introduce = (): void => {
    for (const [key, twin] of twins) {
      twin.start();
      const record = fleet.nodes.get(key as ReturnType<typeof nodeKey>);
      const { session, bootId } = record ?? { session: null, bootId: null };
      const patch = { session, bootId, online: true, offlineSinceMs: null };
      for (const backend of backends) {
        backend.send({ type: 'node', cluster: twin.cluster, node: twin.node, patch });
      }
    }
  };
  return { twins, began, violations, introduce };
}

async function startBackend(owner: string, args: string[]): Promise<Backend> {
  const body = join(import.meta.dirname, '..', 'support', 'backend-process.ts');
  const child = fork(body, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [first] = (await once(child, 'message')) as [FromBackend];
  if (first.type !== 'ready' && first.type !== 'log') throw new Error(JSON.stringify(first));
  return {
    owner,
    child,
    send: (message) => void (child.connected && child.send(message, () => undefined)),
  };
}

/** Every epoch of a cluster belongs to one owner only, by what was seen of it anywhere. */
function ownersOf(seen: readonly { cluster: string; epoch: number; owner: string }[]): string[] {
  const by = Map.groupBy(seen, ({ cluster, epoch }) => `${cluster} ${epoch}`);
  return [...by].flatMap(([key, lines]) =>
    new Set(lines.map(({ owner }) => owner)).size > 1 ? [`two leaders in epoch ${key}`] : [],
  );
}

export async function takeovers({ n, seed, say }: Scope, speed: number): Promise<Figures> {
  const draw = chance(seed);
  const folder = await mkdtemp(join(tmpdir(), 'kr-r12-'));
  const mariadb = await startMariadb();
  const store = await openStore(mariadb.url);
  const nowMs = Date.now() * speed;
  await store.transaction(async (trx) => {
    for (const [id, nodes] of Object.entries(layout.clusters)) {
      await ensureCluster(trx, { id, simulated: true, nowMs });
      await ensureNodes(trx, { cluster: id, nodes, nowMs });
    }
  });
  const signer = await openSigner({
    folder,
    random: systemRandom,
    newId: () => uuidv7(Date.now(), systemRandom.bytes(16)),
  });
  const nodes: Nodes = { effects: [], grants: [], accepted: new Set(), warnings: new Map() };
  const backends: Backend[] = [];
  const stopWork = { isOver: false };
  try {
    for (const owner of owners) {
      const args = [mariadb.url, owner, String(speed), folder, JSON.stringify(layout)];
      backends.push(await startBackend(owner, args));
    }
    const world = startNodes(backends, signer.serverKeys, speed);
    for (const backend of backends) {
      backend.child.on('message', (message: FromBackend) => {
        if (message.type === 'log') {
          const text = `${message.message} ${message.fields.slice(0, 120)}`;
          nodes.warnings.set(message.message, (nodes.warnings.get(message.message) ?? 0) + 1);
          if (nodes.warnings.get(message.message) === 1) say(`${backend.owner}: ${text}`);
        }
        if (message.type === 'submitted' && message.id !== null) nodes.accepted.add(message.id);
        if (message.type !== 'publish' || message.topic === 'kr/v1/server') return;
        const [, , cluster = '', node = '', name = ''] = message.topic.split('/');
        const { session, body } = JSON.parse(message.payload) as { session: string; body: never };
        if (name === 'grant') {
          const content = JSON.parse((body as { signed: string }).signed) as Grant;
          nodes.grants.push({ ...content, owner: backend.owner });
        }
        world.twins.get(nodeKey(cluster, node))?.receive(name, session, body);
      });
    }
    world.introduce();
    const work = (async () => {
      while (!stopWork.isOver) {
        const [cluster = '', guest = ''] = draw.pick(Object.keys(layout.guests)).split('/');
        const common = { cluster, node: 'n1', guest, args: {}, approved: true } as const;
        const kind = draw.pick(['guest.restart', 'guest.stop', 'guest.start'] as const);
        const submission = { ...common, kind, origin: 'token', actor: 'token:t' } as const;
        draw.pick(backends).send({ type: 'submit', submission });
        await pauseMs(draw.between(100, 700) / speed);
      }
    })();

    const leader = async () =>
      store.db
        .selectFrom('leases')
        .select(['cluster', 'owner', 'epoch'])
        .where('cluster', '=', 'a')
        .executeTakeFirst();
    const seen: { cluster: string; epoch: number; owner: string }[] = [];
    const tookMs: number[] = [];
    await until(async () => (await leader()) !== undefined, { what: 'a first leader' });
    for (let turn = 0; turn < n; turn += 1) {
      await pauseMs(draw.between(0, 3_000) / speed);
      const before = await leader();
      const stopped = backends.find(({ owner }) => owner === before?.owner);
      if (!before || !stopped) throw new Error('nobody leads');
      seen.push(before);
      stopped.child.kill('SIGSTOP');
      const startMs = performance.now();
      let after = before;
      await until(
        async () => {
          const ended = backends.find(({ child }) => child.exitCode !== null);
          if (ended) throw new Error(`${ended.owner} ended by itself`);
          after = (await leader()) ?? before;
          return after.owner !== before.owner;
        },
        { withinMs: 120_000, what: 'a takeover' },
      );
      tookMs.push(performance.now() - startMs);
      seen.push(after);
      // The deposed one wakes while the new leader works, at once or later.
      await pauseMs(draw.pick([0, 500, 5_000]) / speed);
      stopped.child.kill('SIGCONT');
      if (turn % 100 === 99)
        say(`${turn + 1} takeovers, slowest ${Math.round(Math.max(...tookMs))}`);
    }
    stopWork.isOver = true;
    await work;
    const { settledMs } = await settled(store, 400_000 / speed);
    nodes.effects = world.began.map(({ commandId }) => ({ commandId, effect: 'start' }));
    const { violations, figures } = await judge(store, nodes);
    const granted = nodes.grants.map(({ cluster, epoch, owner }) => ({ cluster, epoch, owner }));
    return {
      takeovers: tookMs.length,
      leaseMs: 10_000 / speed,
      upperBound: upperBound(tookMs.length),
      tookMs: spread(tookMs),
      grants: nodes.grants.length,
      ...figures,
      settledMs,
      warnings: Object.fromEntries(nodes.warnings),
      violations: [
        ...violations,
        ...world.violations,
        ...ownersOf([...seen, ...granted]),
        ...tookMs
          .filter((ms) => ms > takeoverMaxMs(speed))
          .map((ms) => `takeover took ${Math.round(ms)} ms`),
      ],
    };
  } finally {
    stopWork.isOver = true;
    for (const { child } of backends) child.kill('SIGKILL');
    await store.close();
    await mariadb.stop();
    await rm(folder, { recursive: true });
  }
}

export const r12 = experiment(import.meta, {
  name: 'R12',
  short: 6,
  long: 1_000,
  run: (scope) => takeovers(scope, 10),
});
