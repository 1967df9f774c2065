/**
 * Wrong messages of enrolled daemons, sent by a raw MQTT client with real credentials to the
 * running backend. Each is refused with its code, the named field and a hint, and counted; the
 * fleet, every SQL table and the journals of the daemons are afterwards what they were before.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { topicOf, type TopicName } from '../../broker/contract/topics.ts';
import { publishPacket, type Raw, session } from '../broker/wire.ts';
import { guestSample, helloBody, message, telemetryBody, uuidOf } from '../support/messages.ts';
import { until } from '../support/servers.ts';
import { type Json, simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';

type Change = (envelope: Json) => unknown;
type Lie = {
  what: string;
  name: TopicName;
  payload: Change;
  code: string;
  field: string;
};

const hello = helloBody({
  driver: { name: 'memory', version: null, simulated: true, capabilities: ['guest.stop'] },
});
const report = { commandId: uuidOf(7), n: 1, journalId: hello.journalId, incarnation: 1 };
const claim = {
  commandId: uuidOf(7),
  nonce: 'a'.repeat(32),
  journalId: hello.journalId,
  incarnation: 1,
  bootId: null,
  maxEpoch: 0,
};
const bodies: Partial<Record<TopicName, object>> = {
  telemetry: telemetryBody({ guests: [guestSample('100')] }),
  hello,
  presence: { online: true, reason: 'alive', load: null },
  claim,
  report: { ...report, step: 'finished', exitCode: 0, postcondition: true },
};

const head =
  (change: Json): Change =>
  (envelope) => ({ ...envelope, ...change });
const body =
  (change: Json): Change =>
  (envelope) => ({ ...envelope, body: { ...(envelope['body'] as Json), ...change } });
const without =
  (name: string): Change =>
  ({ body: old, ...envelope }) => ({
    ...envelope,
    body: Object.fromEntries(Object.entries(old as Json).filter(([key]) => key !== name)),
  });
const values = (change: Json): Change => body({ node: { ...telemetryBody().node, ...change } });
const bytes = (text: string) => (): Buffer => Buffer.from(text, 'latin1');

const guests = Array.from({ length: 501 }, (_none, index) => {
  return { id: `${index}`, kind: 'vm', name: 'one', state: 'running' };
});

const lie = (what: string, [name, payload]: [TopicName, Change], refusal: string): Lie => {
  const [code = '', field = ''] = refusal.split(' ');
  return { what, name, payload, code, field };
};

const lies: Lie[] = [
  lie('cut off in the middle', ['telemetry', bytes('{"v":1,"id')], 'KR_NOT_JSON payload'),
  lie('not UTF-8', ['telemetry', bytes('{"v":"\xff"}')], 'KR_NOT_JSON payload'),
  lie('empty', ['telemetry', bytes('')], 'KR_NOT_JSON payload'),
  lie('a list', ['telemetry', bytes('[]')], 'KR_ENVELOPE payload'),
  lie('null', ['hello', bytes('null')], 'KR_ENVELOPE payload'),
  lie('of another version', ['telemetry', head({ v: 2 })], 'KR_ENVELOPE v'),
  lie('without an id', ['telemetry', head({ id: undefined })], 'KR_ENVELOPE id'),
  lie('of a session that is no UUID', ['hello', head({ session: 'mine' })], 'KR_ENVELOPE session'),
  lie('numbered below zero', ['telemetry', head({ seq: -1 })], 'KR_ENVELOPE seq'),
  lie('a sample without a number', ['telemetry', head({ seq: 0 })], 'KR_ENVELOPE seq'),
  lie('with an unknown key', ['report', head({ signature: 'x' })], 'KR_ENVELOPE signature'),
  lie('for another cluster', ['telemetry', head({ cluster: 'c' })], 'KR_WRONG_IDENTITY cluster'),
  lie('for another node', ['telemetry', head({ node: 'liar-0' })], 'KR_WRONG_IDENTITY node'),
  lie('a value as text', ['telemetry', values({ cpuRatio: '1' })], 'KR_BODY body.node.cpuRatio'),
  lie('a value below zero', ['telemetry', values({ cpuRatio: -1 })], 'KR_BODY body.node.cpuRatio'),
  lie('without versions', ['telemetry', without('versions')], 'KR_BODY body.versions'),
  lie('of 501 guests', ['telemetry', body({ guests })], 'KR_BODY body.guests'),
  lie('of no incarnation', ['telemetry', body({ incarnation: 0 })], 'KR_BODY body.incarnation'),
  lie('sampled at 1.5 ms', ['telemetry', body({ sampledAtMs: 1.5 })], 'KR_BODY body.sampledAtMs'),
  lie('a hello without journal', ['hello', without('journalId')], 'KR_BODY body.journalId'),
  lie(
    'a hello of a real driver in a simulated cluster',
    [
      'hello',
      body({ driver: { name: 'host', version: null, simulated: false, capabilities: [] } }),
    ],
    'KR_SIMULATED body.driver.simulated',
  ),
  lie('away for no known reason', ['presence', body({ reason: 'bored' })], 'KR_BODY body.reason'),
  lie('neither on nor off', ['presence', body({ online: 'yes' })], 'KR_BODY body.online'),
  lie('a claim with an unknown key', ['claim', body({ force: true })], 'KR_BODY body.force'),
  lie('a claim with a short nonce', ['claim', body({ nonce: 'abc' })], 'KR_BODY body.nonce'),
  lie('a report of no step', ['report', body({ step: 'done' })], 'KR_BODY body.step'),
  lie('a report numbered zero', ['report', body({ n: 0 })], 'KR_BODY body.n'),
  lie(
    'a report that leaves the post-condition out',
    ['report', without('postcondition')],
    'KR_BODY body.postcondition',
  ),
];
const liarOf = (index: number): string => `liar-${index + 1}`;

let stack: Stack;
let simulation: Simulation;
const liars: Raw[] = [];
let before: Awaited<ReturnType<typeof everything>>;

const envelopeOf = (index: number, name: TopicName): Json => {
  const where = { cluster: 'lies', node: liarOf(index), session: uuidOf(0x1000 + index) };
  const { name: _topic, ...envelope } = message(name, bodies[name] as never, {
    ...where,
    sentAtMs: Date.now(),
  }) as unknown as Json;
  return envelope;
};

function send(index: number, name: TopicName, payload: unknown): void {
  const topic = topicOf('lies', liarOf(index), name);
  const sent = payload instanceof Buffer ? payload : Buffer.from(JSON.stringify(payload));
  liars[index]?.send(publishPacket(topic, { payload: sent }));
}

/** What the load of the other nodes may change at any time. */
const moving = new Set(['decisions', 'facts_history']);

/** Every table but the leases, whose renewal goes on whatever is said. */
function tables(): Record<string, unknown[]> {
  const file = join(stack.settings['KR_DATA_DIR'] ?? '', 'kernreaktor.sqlite');
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const names = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    return Object.fromEntries(
      names
        .map(({ name }) => String(name))
        .filter((name) => name !== 'leases')
        .map((name) => {
          const only = moving.has(name) ? "WHERE cluster = 'lies'" : '';
          return [name, database.prepare(`SELECT * FROM "${name}" ${only}`).all()];
        }),
    );
  } finally {
    database.close();
  }
}

function filesIn(folder: string): [string, string][] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry): [string, string] => {
      const path = join(entry.parentPath, entry.name);
      return [path, readFileSync(path, 'base64')];
    })
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}

const journals = () => [
  ...filesIn(join(stack.folder, 'journals')),
  ...filesIn(join(stack.settings['KR_DATA_DIR'] ?? '', 'daemon', 'journal')),
];

/** What the API says of the liars, apart from their growing age. */
async function fleet(): Promise<Json[]> {
  const nodes = await Promise.all(
    lies.map((_lie, index) => stack.api.get(`clusters/lies/nodes/${liarOf(index)}`)),
  );
  return nodes.map(({ ageMs: _age, state: _state, ...rest }) => rest);
}

const everything = async () => ({ fleet: await fleet(), tables: tables(), journals: journals() });

/** Three more samples of each real daemon: whatever is under way has had its ticks. */
async function letTicksPass(): Promise<void> {
  const received = async () => (await stack.api.ingestFigures())['received'] ?? 0;
  const from = await received();
  await until(async () => (await received()) >= from + 9);
}

beforeAll(async () => {
  stack = await startStack();
  const journalDir = join(stack.folder, 'journals');
  const options = ['--nodes', '2', '--guests', '2', '--interval', '1', '--cluster-prefix', 'true'];
  simulation = simulate(stack, [...options, '--journal-dir', journalDir]);
  type Enrolled = { credentials: { node: string; daemon: string; secret: string }[] };
  const nodes = lies.map((_lie, index) => liarOf(index));
  const { body: enrolled } = await stack.api.post('enrolments', {
    cluster: 'lies',
    nodes,
    simulated: true,
  });
  const { credentials } = enrolled as Enrolled;
  const port = Number(new URL(stack.runtime().mqttUrl).port);
  for (const { daemon, secret } of credentials) {
    liars.push(await session(port, `lies/${daemon}`, { password: Buffer.from(secret) }));
  }
  for (const index of lies.keys()) {
    send(index, 'hello', envelopeOf(index, 'hello'));
    send(index, 'telemetry', envelopeOf(index, 'telemetry'));
  }
  type Nodes = { items: { state: string; driver: string | null }[] };
  await until(async () => {
    const { items } = await stack.api.get<Nodes>('nodes?limit=100');
    const known = items.filter(({ state, driver }) => state !== 'unknown' && driver !== null);
    return known.length === lies.length + 3;
  });
  await until(async () => {
    before = await everything();
    await letTicksPass();
    return JSON.stringify(await everything()) === JSON.stringify(before);
  });
});
afterAll(async () => {
  for (const { socket } of liars) socket.destroy();
  simulation?.run.signal('SIGKILL');
  await simulation?.run.exited;
  await stack?.remove();
});

const refusals = () =>
  stack
    .run()
    .stderr()
    .split('\n')
    .filter((line) => line.includes('message refused'))
    .map((line) => JSON.parse(line) as Json);

describe('a message of an enrolled daemon', () => {
  it.each(lies.map((one, index) => ({ ...one, index })))(
    'is refused as $code at $field: $what',
    async ({ index, name, payload, code, field }) => {
      const counted = async () => (await stack.api.ingestFigures())[code] ?? 0;
      const already = await counted();
      send(index, name, payload(envelopeOf(index, name)));
      await until(async () => (await counted()) > already);
      expect(await counted()).toBe(already + 1);
      const client = `lies/${liarOf(index)}`;
      await until(() => refusals().some((line) => line['client'] === client));
      const refusal = refusals().find((line) => line['client'] === client);
      expect(refusal).toMatchObject({ code, field, topic: topicOf('lies', liarOf(index), name) });
      expect(String(refusal?.['hint']).length).toBeGreaterThan(3);
      expect(liars[index]?.isClosed()).toBe(false);
    },
  );

  it('is counted once for each, and changed neither fleet nor SQL nor journals', async () => {
    const figures = await stack.api.ingestFigures();
    const codes = Object.entries(figures).filter(([name]) => name.startsWith('KR_'));
    const expected = codes.map(([name]) => [name, lies.filter(({ code }) => code === name).length]);
    expect(codes).toEqual(expected);
    expect(lies.length).toBeGreaterThanOrEqual(20);
    await letTicksPass();
    const after = await everything();
    expect(after.fleet).toEqual(before.fleet);
    expect(after.tables).toEqual(before.tables);
    expect(after.journals.length).toBeGreaterThanOrEqual(3);
    expect(after.journals).toEqual(before.journals);
    expect(Object.keys(after.tables)).toContain('command_history');
  });
});
