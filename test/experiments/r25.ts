/**
 * R25: 64 identities on every topic with every kind of packet, tries to take an identity over,
 * replayed and altered grants. Judged against an oracle of its own: an identity may speak and hear
 * for its own node, in one direction per topic, and nothing else.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { may } from '../../broker/access.ts';
import { nodeToServer, serverToNode, serverTopic } from '../../broker/contract/topics.ts';
import type { Ownership } from '../../broker/port.ts';
import {
  connectPacket,
  publishPacket,
  raw,
  type Raw,
  session,
  settled,
  startBroker,
  type TestBroker,
} from '../broker/wire.ts';
import { createRig, node } from '../daemon/command/rig.ts';
import {
  chance,
  type Chance,
  experiment,
  type Figures,
  type Scope,
  upperBound,
} from '../support/experiment.ts';

const cluster = 'home';
const ids = Array.from({ length: 64 }, (_, index) => `n${index}`);
const enrolment = new Set(['enrol', 'enrolled']);

const nodeTopics = ids.flatMap((id) =>
  [...nodeToServer, ...serverToNode].map((name) => ({
    topic: `kr/v1/${cluster}/${id}/${name}`,
    id,
    name: name as string,
  })),
);
/** Filters and names that stand for many topics, or for none of ours. */
const strange = [
  '#',
  '+',
  '+/+/+/+/+',
  'kr/#',
  'kr/v1/#',
  'kr/v1/+/+/grant',
  'kr/v1/home/+/telemetry',
  '$SYS/#',
  '$share/g/kr/v1/home/n1/grant',
  'kr/v1/home/n1/#',
  'kr/v1/home//telemetry',
  '/kr/v1/home/n1/telemetry',
  'kr/v1/home/n1/telemetry/',
  'kr/v1/away/n1/telemetry',
  'KR/v1/home/n1/telemetry',
  'kr/v2/home/n1/telemetry',
];

const owner = (id: string): Ownership => ({
  cluster,
  daemon: id,
  simulated: false,
  enrolling: false,
  nodes: new Set([id]),
});

/** The pure judgement over the whole matrix. */
function matrix(violations: string[]) {
  let [cases, allowed] = [0, 0];
  const sent: ReadonlySet<string> = new Set(nodeToServer);
  for (const id of ids) {
    const party = owner(id);
    for (const { topic, id: of, name } of nodeTopics) {
      for (const deed of ['publish', 'subscribe', 'receive'] as const) {
        const isOwn = of === id && !enrolment.has(name) && sent.has(name) === (deed === 'publish');
        const verdict = may(party, deed, topic);
        cases += 1;
        allowed += verdict ? 1 : 0;
        if (verdict !== isOwn) violations.push(`${id} ${deed} ${topic}: ${verdict}`);
      }
    }
    for (const topic of [serverTopic, ...strange]) {
      for (const deed of ['publish', 'subscribe', 'receive'] as const) {
        const isOwn = topic === serverTopic && deed !== 'publish';
        cases += 1;
        if (may(party, deed, topic) !== isOwn) violations.push(`${id} ${deed} ${topic}`);
      }
    }
  }
  return { cases, allowed };
}

type Try = { packet: 'publish' | 'publish1' | 'publish2' | 'retain' | 'will'; topic: string };

/** One forbidden packet on a connection of its own; nothing of it may reach anyone. */
async function publishForeign(port: number, id: string, { packet, topic }: Try): Promise<void> {
  const will = { topic, payload: Buffer.from('{}'), qos: 1, retain: false } as const;
  const client = await raw(port);
  client.send(connectPacket(`${cluster}/${id}`, packet === 'will' ? { will } : {}));
  await client.got('connack').catch(() => undefined);
  const qos = { publish: 0, publish1: 1, publish2: 2, retain: 0, will: 0 } as const;
  if (packet !== 'will') {
    const over = { qos: qos[packet], retain: packet === 'retain', messageId: 7 };
    client.send(publishPacket(topic, over));
    await settled(client);
  }
  // Without a DISCONNECT, so that a will that was let in would be published now.
  client.socket.destroy();
}

/** The granted QoS of each filter, 128 for refused. */
async function subscribe(client: Raw, topics: readonly string[]): Promise<number[]> {
  client.packets.length = 0;
  const subscriptions = topics.map((topic) => ({ topic, qos: 1 as const }));
  client.send({ cmd: 'subscribe', messageId: 9, subscriptions });
  const { granted } = await client.got('suback');
  return granted as number[];
}

/** The same over the wire: each id tries foreign topics by every packet that carries one. */
async function wire(draw: Chance, count: number, violations: string[]) {
  const test: TestBroker = await startBroker();
  for (const id of ids) test.directory.add({ cluster, daemon: id });
  const victims = await Promise.all(ids.slice(0, 8).map((id) => session(test.port, `home/${id}`)));
  let [publishes, filters] = [0, 0];
  const packets = ['publish', 'publish1', 'publish2', 'retain', 'will'] as const;
  const foreign = (id: string) => {
    const others = nodeTopics.filter((one) => one.id !== id).map(({ topic }) => topic);
    return draw.is(0.1) ? draw.pick([serverTopic, ...strange]) : draw.pick(others);
  };
  const live = (): void => victims.forEach((victim) => victim.send({ cmd: 'pingreq' }));
  try {
    for (; publishes < count; publishes += 1) {
      if (publishes % 50 === 0) live();
      const id = draw.pick(ids.slice(8));
      const asked = { packet: draw.pick(packets), topic: foreign(id) };
      if (/[+#]/.test(asked.topic)) continue;
      const before = test.received.length;
      await publishForeign(test.port, id, asked);
      const forged = test.received.slice(before).filter(({ topic }) => topic === asked.topic);
      if (forged.length > 0) violations.push(`${id} ${asked.packet} ${asked.topic} got through`);
    }
    for (const id of ids.slice(8, 8 + Math.ceil(count / 20))) {
      live();
      const topics = [...nodeTopics.map(({ topic }) => topic), ...strange];
      for (let from = 0; from < topics.length; from += 40) {
        // A connection each: one that was refused a filter may have been closed.
        const client = await session(test.port, `home/${id}`);
        const asked = topics.slice(from, from + 40);
        const granted = await subscribe(client, asked).catch(() => asked.map(() => 128));
        filters += asked.length;
        asked.forEach((topic, index) => {
          const isOwn =
            topic.startsWith(`kr/v1/home/${id}/`) &&
            (serverToNode as readonly string[]).includes(topic.split('/').at(-1) ?? '') &&
            !topic.endsWith('enrolled');
          if (granted[index] !== 128 && !isOwn) violations.push(`${id} hears ${topic}`);
        });
        client.socket.destroy();
      }
    }
    live();
    const takeovers = await takeOver({ ...test, live }, draw, count, violations);
    for (const victim of victims) {
      if (victim.isClosed()) violations.push('an honest session was closed');
      const foreignHeard = victim.packets.filter(({ cmd }) => cmd === 'publish');
      if (foreignHeard.length > 0) violations.push('a victim heard what was not for it');
    }
    return { publishes, filters, takeovers };
  } finally {
    await test.broker.close();
  }
}

/** Own credentials with another's client id, another's name with own secret, no secret at all. */
async function takeOver(
  test: TestBroker & { live: () => void },
  draw: Chance,
  count: number,
  violations: string[],
) {
  let tries = 0;
  for (; tries < count; tries += 1) {
    if (tries % 50 === 0) test.live();
    const [victim, attacker] = [draw.pick(ids.slice(0, 8)), draw.pick(ids.slice(8))];
    const name = (id: string): string => `${cluster}/${id}`;
    const own = connectPacket(name(attacker));
    const ways = [
      { ...own, clientId: name(victim) },
      { ...own, username: name(victim) },
      { ...own, username: name(victim), clientId: name(victim) },
      { ...own, username: name(victim), clientId: name(victim), password: Buffer.alloc(0) },
      { ...own, clientId: `${name(victim)}/` },
      { ...own, clientId: '' },
    ];
    const client = await raw(test.port);
    client.send(draw.pick(ways));
    const answer = await client.got('connack').catch(() => undefined);
    if (answer?.returnCode === 0) violations.push(`${attacker} connected as ${victim}`);
    client.socket.destroy();
    // The broker slows down who fails often; an attacker has time.
    if (answer === undefined && tries % 20 === 19) await sleep(5);
  }
  return tries;
}

/** Each byte of a signed grant in each of its bits, and what was valid once, again. */
async function grants(draw: Chance, count: number, violations: string[]) {
  let [flips, replays] = [0, 0];
  for (let turn = 0; flips + replays < count; turn += 1) {
    const rig = createRig({ seed: 1 + turn });
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    const good = rig.signer.sign(
      rig.grantOf(offer, rig.claims(offer.commandId)[0] ?? { nonce: '' }),
    );
    for (const field of ['signed', 'signature', 'keyId'] as const) {
      const bytes = Buffer.from(good[field], 'latin1');
      for (let bit = 0; bit < 8 * bytes.length && flips + replays < count; bit += 1) {
        const bad = Buffer.from(bytes);
        bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const body = { ...good, [field]: bad.toString('latin1') };
        await rig.executor().deliver({ name: 'grant', node, body });
        flips += 1;
      }
    }
    await rig.flush();
    if (rig.world.effects.length > 0) violations.push('an altered grant was accepted');
    await rig.executor().deliver({ name: 'grant', node, body: good });
    await rig.flush();
    if (rig.world.effects.length !== 1) violations.push('the true grant was not accepted');
    for (let again = 0; again < 20; again += 1) {
      if (draw.is(0.2)) rig.crash();
      if (draw.is(0.3)) await rig.connect();
      if (draw.is(0.2)) await rig.give(offer);
      await rig.executor().deliver({ name: 'grant', node: draw.pick([node, 'n2']), body: good });
      await rig.flush();
      replays += 1;
    }
    if (rig.world.effects.length !== 1) violations.push('a replayed grant was accepted');
  }
  return { flips, replays };
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const violations: string[] = [];
  const judged = matrix(violations);
  say(`${judged.cases} cases of the matrix`);
  const overWire = await wire(chance(seed), Math.max(60, Math.floor(n / 20)), violations);
  say(`${overWire.publishes} publishes, ${overWire.takeovers} takeovers`);
  const granted = await grants(chance(seed + 1), n, violations);
  const { publishes, filters, takeovers } = overWire;
  const { flips, replays } = granted;
  const cases = judged.cases + publishes + filters + takeovers + flips + replays;
  const hostile = cases - judged.allowed;
  return {
    cases,
    hostile,
    upperBound: upperBound(hostile),
    matrix: judged.cases,
    ...overWire,
    ...granted,
    violations,
  };
}

export const r25 = experiment(import.meta, { name: 'R25', short: 2_000, long: 100_000, run });
