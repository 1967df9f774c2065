/**
 * A whole HTTP server on an embedded store in a temporary folder, with accounts of every role and
 * small twins of the stages behind it. The twins write real rows, so reads see real data.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { guestMetrics, nodeMetrics } from '../../../broker/contract/metrics.ts';
import { nodeKey } from '../../../broker/contract/ids.ts';
import type { GuestSample, NodeValues } from '../../../broker/contract/telemetry.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import type {
  CommandEvent,
  CommandsFace,
  DecisionEvent,
  HttpConfig,
  HttpDeps,
  Readiness,
  Submission,
  WakeStanding,
} from '../../../backend/http/deps.ts';
import type { Backtest, Backtests } from '../../../backend/backtest/backtests.ts';
import { noQuotas } from '../../../backend/act/quota.ts';
import { createPasswords } from '../../../backend/http/passwords.ts';
import { hashOf, newSecret } from '../../../backend/http/secrets.ts';
import { createHttpServer, type HttpServer } from '../../../backend/http/server.ts';
import { createNotifier } from '../../../backend/notify/notifier.ts';
import { createSecrets } from '../../../backend/store/sql/secrets.ts';
import { createObservation } from '../../../backend/observe/metrics.ts';
import { createPackages } from '../../../backend/packages.ts';
import type { Emptying } from '../../../backend/decide/emptying.ts';
import { emptyFleet, type Fleet, type NodeRecord } from '../../../backend/state/fleet.ts';
import type { RangeQuery } from '../../../backend/store/ports.ts';
import { createAccounts } from '../../../backend/store/sql/accounts.ts';
import { createSessions, createTokens } from '../../../backend/store/sql/sessions.ts';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import { sha256 } from '../../../backend/store/sql/credentials.ts';
import { createDirectory } from '../../../backend/store/sql/daemons.ts';
import { createEnrolments } from '../../../backend/store/sql/enrolments.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { commandRow } from '../../support/command-row.ts';
import { memoryLog } from '../../support/log.ts';

export const password = 'a long sentence nobody guesses';

const valuesOf = (cpuRatio: number) =>
  Object.fromEntries(
    nodeMetrics.map(({ name }) => [name, name === 'cpuRatio' ? cpuRatio : null]),
  ) as NodeValues;

export const guestOf = (id: string): GuestSample =>
  ({
    ...Object.fromEntries(guestMetrics.map(({ name }) => [name, null])),
    id,
    kind: 'vm',
    name: `guest ${id}`,
    state: 'running',
    tags: [],
    lock: null,
    haState: null,
  }) as unknown as GuestSample;

export function addNode(
  fleet: Fleet,
  { cluster, node, guests = [] }: { cluster: string; node: string; guests?: string[] },
  more: Partial<NodeRecord> = {},
): NodeRecord {
  const samples = guests.map(guestOf);
  const record: NodeRecord = {
    ...unseenNode(cluster, node),
    online: true,
    incarnation: 1,
    seq: 1,
    sampleAtMs: 0,
    sampledAtWallMs: 1_800_000_000_000,
    values: valuesOf(0.25),
    guests: samples,
    versions: { daemon: '0.1.0', hypervisor: null, kernel: null },
    driver: { name: 'memory', version: null, simulated: true, capabilities: ['guest.migrate'] },
    ...more,
  };
  fleet.nodes.set(nodeKey(cluster, node), record);
  const nodes = fleet.nodesByCluster.get(cluster) ?? new Map<string, NodeRecord>();
  fleet.nodesByCluster.set(cluster, nodes.set(node, record));
  for (const sample of samples) {
    fleet.guests.set(`${cluster}/${sample.id}`, { ...sample, cluster, node, sampleAtMs: 0 });
  }
  return record;
}

export async function addCluster(database: Database, fleet: Fleet, id: string): Promise<void> {
  await database.db
    .insertInto('clusters')
    .values({
      id,
      simulated: 1,
      time_scale: 1,
      autonomy: '{"default":"recommend"}',
      policy_id: null,
      limits: '{}',
      settings: '{}',
      hold: 0,
      hold_reason: null,
      hold_by: null,
      hold_at_ms: null,
      frozen_until_ms: null,
      frozen_reason: null,
      created_at_ms: 1,
      ver: 1,
    })
    .execute();
  fleet.clusters.set(id, {
    id,
    simulated: true,
    timeScale: 1,
    hold: false,
    autonomy: { default: 'recommend' },
    policyHash: null,
    policyYaml: null,
  });
}

const standingOf = (
  at: { cluster: string; node: string },
  campaign: WakeStanding['campaign'],
): WakeStanding => ({
  ...at,
  isProven: false,
  proofs: [{ waker: 'wol', succeeded: 1, youngestAgeMs: 60_000, bootMs: 90_000 }],
  ways: [{ executor: 'n2', by: 'wol', isNear: true }],
  campaign,
  watch: { wished: 'auto', level: 'approve', automaticAtMs: 1_800_400_000_000, reason: null },
});

const campaignOf = (n: number): NonNullable<WakeStanding['campaign']> => ({
  id: `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`,
  cluster: 'home',
  node: 'n1',
  waker: 'wol',
  actor: 'account:ada',
  cycles: 3,
  done: 1,
  proven: 1,
  attempts: 1,
  phase: 'wake',
  state: 'running',
  command_id: null,
  binding_hash: null,
  binding: null,
  why: 'the node is off',
  is_cancelled: 0,
  off_at_ms: null,
  started_at_ms: 1_800_000_000_000,
  next_at_ms: 0,
  deadline_at_ms: 1_800_000_000_000,
  finished_at_ms: null,
  ver: 1,
});

/** Writes what act/ would write as far as reads see it; guards and lifecycle are act's tests. */
function commandsTwin(database: Database, newId: () => string, nowMs: () => number) {
  const submitted: Submission[] = [];
  const rehearsed: Submission[] = [];
  const holds: object[] = [];
  const listeners: ((event: CommandEvent) => void)[] = [];
  const insert = async (submission: Submission) => {
    const id = newId();
    await database.db
      .insertInto('commands')
      .values(
        commandRow({
          id,
          cluster: submission.cluster,
          kind: submission.kind,
          target_kind: submission.guest === undefined ? 'node' : 'guest',
          target_id: submission.guest ?? submission.node,
          executor: submission.node,
          args: JSON.stringify(submission.args),
          generation: submitted.length,
          origin: submission.origin,
          actor: submission.actor,
          reason: submission.reason ?? null,
          idempotency_key: submission.idempotencyKey ?? null,
          approved_by: submission.actor,
          planned_at_ms: nowMs(),
          expires_at_ms: nowMs() + 300_000,
        }),
      )
      .execute();
    await database.db
      .insertInto('command_history')
      .values({
        command_id: id,
        ver: 1,
        state: 'QUEUED',
        at_ms: nowMs(),
        actor: submission.actor,
        reason: null,
        epoch: 1,
        data: null,
      })
      .execute();
    return id;
  };
  const face: CommandsFace = {
    async submit(submission) {
      const earlier = submitted.findIndex(
        ({ idempotencyKey: key }) => key !== undefined && key === submission.idempotencyKey,
      );
      const known = ids[earlier];
      if (known !== undefined) return { ok: true, id: known, state: 'QUEUED', replayed: true };
      submitted.push(submission);
      const id = await insert(submission);
      ids.push(id);
      return { ok: true, id, state: 'QUEUED', replayed: false };
    },
    rehearse: async (submission) => {
      rehearsed.push(submission);
      const denial = { code: 'KR_QUORUM', reason: 'too few votes', wayOut: 'wake a node' };
      const verdicts = [
        { id: 'empty-node', facts: [], denial: { ...denial, code: 'KR_GUESTS_RUNNING' } },
        { id: 'own-house', facts: [], denial: null },
        { id: 'quorum', facts: [], denial },
      ];
      return { ok: true, denial, verdicts };
    },
    cancel: async () => ({ ok: true, state: 'CANCELLED' }),
    approve: async () => ({
      ok: false,
      refusal: {
        status: 409,
        code: 'KR_STATE',
        field: 'id',
        detail: 'only PLANNED can be approved',
        wayOut: 'look at its state',
      },
    }),
    resolve: async () => ({ ok: true, state: 'FAILED' }),
    confirmJournal: async () => ({ ok: true }),
    async setHold(order) {
      holds.push(order);
      return { ok: true };
    },
    async proveWake({ cluster, node, cycles, waker, actor }) {
      proving.push({ cluster, node, cycles, waker, actor });
      return { ok: true, standing: standingOf({ cluster, node }, campaignOf(proving.length)) };
    },
    wakeStanding: async (at) => ({ ok: true, standing: standingOf(at, null) }),
    endProving: async (at) => ({ ok: true, standing: standingOf(at, null) }),
    quotaStanding: async () => ({ quotas: noQuotas, held: [] }),
    setQuotas: async () => undefined,
    trustEngine: async (at) => ({ ok: true, standing: standingOf(at, null) }),
    houseNow: async () => ({ residents: [], unknown: ['backend'] }),
    answerHouse: async (answer, actor) => void answers.push({ answer, actor }),
    isHeld: () => false,
    onEvent: (listener) => void listeners.push(listener),
  };
  const ids: string[] = [];
  const proving: object[] = [];
  const answers: object[] = [];
  const emit = (event: CommandEvent) => listeners.forEach((listener) => listener(event));
  return { face, submitted, rehearsed, holds, proving, answers, emit };
}

const backtest: Backtest = {
  id: '01890000-0000-7000-8000-00000000b7e5',
  cluster: 'home',
  actor: 'account:ada',
  state: 'running',
  startedAtMs: 1_800_000_000_000,
  finishedAtMs: null,
  fromMs: 1_799_913_600_000,
  toMs: 1_800_000_000_000,
  progress: 0.5,
  outcome: null,
  problem: null,
};

/** What a backtest finds is backtest/'s own tests' business. */
const backtestsTwin: Backtests = {
  start: ({ cluster }) => ({ ok: true, backtest: { ...backtest, cluster } }),
  get: (id) => (id === backtest.id ? backtest : undefined),
  list: () => [backtest],
  cancel: async () => backtest,
  stop: async () => {},
};

export type Harness = Awaited<ReturnType<typeof startHarness>>;
export type Who = 'none' | 'viewer' | 'operator' | 'admin' | 'foreign' | 'foreignAdmin';

const backup = { name: 'kernreaktor-20270115T080000Z.age', atMs: 1_800_000_000_000, bytes: 6 };

export async function startHarness(config: Partial<HttpConfig> = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), 'kr-http-'));
  const clock = virtualClock();
  const random = seededRandom(7);
  const newId = idsOf(clock, random);
  const log = memoryLog();
  const nowMs = () => clock.wallMs();
  const database = await openDatabase({ file: join(dataDir, 'kr.sqlite'), nowMs, log });
  const fleet = emptyFleet();
  const commands = commandsTwin(database, newId, nowMs);
  const directory = await createDirectory(database.db, nowMs);
  const ranges: RangeQuery[] = [];
  const readiness: Readiness[] = [{ name: 'metrics', ok: true }];
  const kicked: string[] = [];
  const joined: unknown[] = [];
  const decisionListeners: ((event: DecisionEvent) => void)[] = [];
  const setupDone: number[] = [];
  const emptyings = new Map<string, Emptying>();
  const sealing = createSecrets(random.bytes(32), random);
  const deps: HttpDeps = {
    config: {
      host: '127.0.0.1',
      port: 0,
      isDefaultPort: false,
      tls: null,
      socketPath: join(dataDir, 'http.sock'),
      trustedProxies: [],
      allow: [],
      deny: [],
      publicUrl: null,
      requestsPerMinute: { perAddress: 100_000, perAccount: 100_000 },
      ...config,
    },
    database,
    fleet: () => fleet,
    commands: commands.face,
    emptying: ({ node }) => emptyings.get(node) ?? null,
    enrolments: createEnrolments({
      database,
      directory,
      caFingerprint: null,
      kick: (clientId) => void kicked.push(clientId),
      secretOf: (enrolment) => sha256(`key of this test ${enrolment}`),
      random,
      newId,
      nowMs,
    }),
    joining: {
      lookAtProxmox: async (endpoint) => ({
        certificates: [],
        findings: [],
        cluster:
          endpoint.fingerprints.length === 0
            ? null
            : { name: 'lab', nodes: ['alpha', 'beta'], guestCount: 3 },
      }),
      joinProxmox: async (order) => void joined.push(order),
      demo: { isRunning: () => joined.length > 9, start: async () => void joined.push('demo') },
    },
    mqttTlsUrl: null,
    metrics: {
      missing: async () => ({ samples: 12, missing: 3 }),
      finestStepMs: (fromMs) => (fromMs < clock.wallMs() - 7 * 86_400_000 ? 60_000 : 1),
      total: async ({ metrics, fromMs }) =>
        metrics.map((metric) => ({ metric, points: [[fromMs, 0.5]] })),
      top: async ({ entity, limit }) =>
        [
          {
            cluster: 'home',
            node: 'n1',
            ...(entity === 'guest' ? { guest: '100' } : {}),
            value: 1,
          },
          {
            cluster: 'work',
            node: 'n2',
            ...(entity === 'guest' ? { guest: '7' } : {}),
            value: 0.5,
          },
        ].slice(0, limit),
      events: async ({ fromMs }) => [
        {
          atMs: fromMs,
          cluster: 'home',
          kind: 'node.wake',
          outcome: 'SUCCEEDED',
          node: 'n1',
          guest: null,
          text: '',
          id: null,
        },
      ],
      async range(query) {
        ranges.push(query);
        const point: [number, number | null] = [query.fromMs, null];
        const node = query.node ?? 'n1';
        const guest = query.guest === undefined ? {} : { guest: query.guest };
        return query.metrics.map((metric) => ({ metric, node, ...guest, points: [point] }));
      },
    },
    backups: {
      list: async () => [backup],
      make: async () => backup,
      read: async (name) => (name === backup.name ? Readable.from(['sealed']) : undefined),
      last: () => null,
    },
    packages: createPackages(join(dataDir, 'packages')),
    backtests: backtestsTwin,
    secrets: sealing,
    notifier: createNotifier({
      database,
      fleet: () => fleet,
      metrics: { range: async () => [] },
      secrets: sealing,
      certificateEndsAtMs: () => null,
      backupProblem: () => null,
      publicUrl: null,
      pricePerKwh: null,
      isWell: async () => true,
      clock,
      random,
      newId,
      log,
    }),
    observation: createObservation({
      ingest: () => ({ telemetry: 12, refused: 1 }),
      broker: () => ({ clients: 3 }),
      store: () => ({}),
      fleet,
      nowMs: () => clock.monotonicMs(),
      commands: async () => ({}),
      audit: () => [],
      certificateEndsAtMs: () => null,
      detail: 'none',
    }),
    readiness: async () => readiness,
    onDecision: (listener) => void decisionListeners.push(listener),
    identity: {
      serverId: newId(),
      serverKeys: [{ keyId: 'a'.repeat(16), publicKey: `${'A'.repeat(43)}=` }],
    },
    onSetupDone: async () => void setupDone.push(clock.wallMs()),
    clock,
    random,
    newId,
    log,
  };
  const server: HttpServer = await createHttpServer(deps);
  return {
    server,
    app: server.app,
    deps,
    dataDir,
    database,
    fleet,
    clock,
    random,
    newId,
    log,
    commands,
    directory,
    kicked,
    joined,
    ranges,
    readiness,
    emptyings,
    setupDone,
    decide: (event: DecisionEvent) => decisionListeners.forEach((listener) => listener(event)),
    async stop() {
      await server.close();
      await database.close();
      await rm(dataDir, { recursive: true });
    },
  };
}

const storedHash = createPasswords((count) => new Uint8Array(count)).then((passwords) =>
  passwords.hash(password),
);

/** Sessions of each role, made directly in the store: signing in has its own tests. */
export async function signInAll(harness: Harness): Promise<Record<Who, string | null>> {
  const { database, newId, random, clock } = harness;
  const accounts = createAccounts(database);
  const sessions = createSessions(database);
  const by = { actor: 'test', nowMs: clock.wallMs() };
  const session = async (
    username: string,
    role: 'viewer' | 'operator' | 'admin',
    clusters: string[] | null,
  ) => {
    const id = newId();
    const account = { id, username, passwordHash: await storedHash, role, clusters };
    const isCreated =
      username === 'admin'
        ? await accounts.createFirst(account, by)
        : await accounts.create(account, by);
    if (!isCreated) throw new Error(`account ${username} exists`);
    const token = newSecret(random);
    await sessions.open(
      {
        id: newId(),
        tokenHash: hashOf(token),
        accountId: id,
        expiresAtMs: clock.wallMs() + 86_400_000,
        address: '127.0.0.1',
        userAgent: '',
      },
      by,
    );
    return { id, token };
  };
  const admin = await session('admin', 'admin', null);
  const foreign = newSecret(random);
  await createTokens(database).create(
    {
      id: newId(),
      name: 'foreign',
      tokenHash: hashOf(foreign),
      accountId: admin.id,
      role: 'operator',
      clusters: ['elsewhere'],
      expiresAtMs: null,
    },
    by,
  );
  return {
    none: null,
    viewer: (await session('viewer', 'viewer', null)).token,
    operator: (await session('operator', 'operator', null)).token,
    admin: admin.token,
    foreign,
    foreignAdmin: (await session('elsa', 'admin', ['elsewhere'])).token,
  };
}

export const bearer = (token: string | null): Record<string, string> =>
  token === null ? {} : { authorization: `Bearer ${token}` };

/** Every row of every table, to show that a refused request changed nothing. */
export async function snapshot(database: Database): Promise<string> {
  const tables = [
    'accounts',
    'api_tokens',
    'clusters',
    'nodes',
    'daemons',
    'daemon_nodes',
  ] as const;
  const more = ['enrolments', 'targets', 'commands', 'command_history', 'outbox', 'audit'] as const;
  const others = ['audit_heads', 'settings', 'sessions', 'decisions', 'secrets'] as const;
  const rows: unknown[] = [];
  for (const table of [...tables, ...more, ...others]) {
    rows.push(table, await database.db.selectFrom(table).selectAll().execute());
  }
  return JSON.stringify(rows);
}
