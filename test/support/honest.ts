/**
 * An honest daemon beside an attack, by hand: it publishes a sample a second, asks for PINGRESP
 * and notes how long that takes, and at its end waits for the receipt that covers every sample.
 */
import { type Raw, raw } from '../broker/wire.ts';
import { pauseMs } from './experiment.ts';
import { message, telemetryBody } from './messages.ts';
import { connectOf, type Identity } from './mqtt-fuzz.ts';
import type { Stack } from './stack.ts';

type Enrolled = { credentials: { node: string; daemon: string; secret: string }[] };

/** Credentials of simulated nodes, to speak with by hand. */
export async function enrolIdentities(
  stack: Stack,
  cluster: string,
  count: number,
): Promise<[Identity, ...Identity[]]> {
  const nodes = Array.from({ length: count }, (_, index) => `${cluster}-${index}`);
  const { status, body } = await stack.api.post<Enrolled>('enrolments', {
    cluster,
    nodes,
    simulated: true,
  });
  if (status !== 201) throw new Error(`enrolment: ${status} ${JSON.stringify(body)}`);
  const [first, ...others] = body.credentials.map((one) => ({ cluster, ...one }));
  if (!first) throw new Error('nobody was enrolled');
  return [first, ...others];
}

export type Honest = {
  pingMs: number[];
  /** Sessions that the server ended, or that no longer answered. */
  lost: number;
  samples: number;
  /** Samples that no receipt has covered after the end. */
  unstored: number;
};

const everyMs = 50;
const sampleEveryMs = 1_000;
const lostAfterMs = 10_000;
const receiptMaxMs = 30_000;

async function open(stack: Stack, who: Identity): Promise<Raw> {
  const session = await raw(Number(new URL(stack.runtime().mqttUrl).port));
  session.send(connectOf(who));
  await session.got('connack');
  const topic = `kr/v1/${who.cluster}/${who.node}/receipt`;
  session.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] });
  await session.got('suback');
  session.packets.length = 0;
  return session;
}

function publish(session: Raw, { cluster, node }: Identity, seq: number): void {
  const head = { cluster, node, seq, sentAtMs: Date.now() };
  const { name, ...wire } = message('telemetry', telemetryBody({ sampledAtMs: Date.now() }), head);
  session.send({
    cmd: 'publish',
    topic: `kr/v1/${cluster}/${node}/${name}`,
    payload: JSON.stringify(wire),
    qos: 0,
    dup: false,
    retain: false,
  });
}

/** The highest seq that a receipt among these packets covers. */
function coveredBy({ packets }: Raw): number {
  let covered = 0;
  for (const packet of packets) {
    if (packet.cmd !== 'publish') continue;
    const { body } = JSON.parse(String(packet.payload)) as { body: { storedSeq: number } };
    covered = Math.max(covered, body.storedSeq);
  }
  return covered;
}

/** The milliseconds until PINGRESP, or null when it did not come. */
async function ping(session: Raw): Promise<number | null> {
  const startMs = performance.now();
  const answers = (): number => session.packets.filter(({ cmd }) => cmd === 'pingresp').length;
  const before = answers();
  session.send({ cmd: 'pingreq' });
  while (answers() === before) {
    if (session.isClosed() || performance.now() - startMs > lostAfterMs) return null;
    await pauseMs(1);
  }
  return performance.now() - startMs;
}

/** Lives as long as `work`. */
export async function liveHonestly(
  stack: Stack,
  who: Identity,
  work: () => Promise<unknown>,
): Promise<Honest> {
  const honest: Honest = { pingMs: [], lost: 0, samples: 0, unstored: 0 };
  const run = { isOver: false };
  const done = work().finally(() => (run.isOver = true));
  let session = await open(stack, who);
  let [covered, sampledAtMs] = [0, 0];
  const goOn = async (): Promise<void> => {
    const ms = await ping(session);
    covered = Math.max(covered, coveredBy(session));
    session.packets.length = 0;
    if (ms !== null) return void honest.pingMs.push(ms);
    honest.lost += 1;
    session.socket.destroy();
    if (!stack.run().isOver()) session = await open(stack, who);
  };
  while (!run.isOver && !stack.run().isOver()) {
    if (performance.now() - sampledAtMs > sampleEveryMs) {
      sampledAtMs = performance.now();
      honest.samples += 1;
      publish(session, who, honest.samples);
    }
    await goOn();
    await pauseMs(everyMs);
  }
  await done;
  const deadlineMs = performance.now() + receiptMaxMs;
  while (covered < honest.samples && performance.now() < deadlineMs && !stack.run().isOver()) {
    await goOn();
    await pauseMs(everyMs);
  }
  honest.unstored = honest.samples - covered;
  session.socket.destroy();
  return honest;
}
