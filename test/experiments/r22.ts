/**
 * R22: mutated and grammar-drawn MQTT packets against the running product, before and after
 * authentication, in batches of one connection each, and stateful sequences; honest daemons and an
 * honest session beside them. Nothing may crash, memory stays bounded, nobody honest waits.
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  chance,
  experiment,
  type Figures,
  residentBytes,
  type Scope,
  spread,
  upperBound,
  watchMemory,
} from '../support/experiment.ts';
import { type Batch, createFuzzer, type Identity } from '../support/mqtt-fuzz.ts';
import { enrolIdentities, liveHonestly } from '../support/honest.ts';
import { type Stack, startStack } from '../support/stack.ts';

const workers = 12;
const answerMaxMs = 400;

type Kind = 'preAuth' | 'postAuth' | 'sequence';
type Count = { packets: number; connections: number };

const pingreq = Buffer.from([0xc0, 0]);
const isPingresp = (chunk: Buffer): boolean => chunk.at(-2) === 0xd0 && chunk.at(-1) === 0;

/** One connection; it is over when the server closes it, or has answered the ping at its end. */
function play(port: number, address: string, batch: Batch): Promise<'closed' | 'open'> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: address });
    let isGreeted = batch.greeting === null;
    const timer = setTimeout(() => end('open'), answerMaxMs);
    const end = (how: 'closed' | 'open'): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(how);
    };
    socket.on('error', () => undefined);
    socket.on('close', () => end('closed'));
    socket.on('data', (chunk: Buffer) => {
      if (isGreeted && isPingresp(chunk)) return end('open');
      if (isGreeted) return;
      isGreeted = true;
      socket.write(Buffer.concat([batch.bytes, pingreq]));
    });
    socket.write(batch.greeting ?? Buffer.concat([batch.bytes, pingreq]));
  });
}

function kindOf(ratio: number): Kind {
  if (ratio < 0.4) return 'preAuth';
  return ratio < 0.95 ? 'postAuth' : 'sequence';
}

async function attack(stack: Stack, identities: Identity[], { n, seed, say }: Scope) {
  const draw = chance(seed);
  const fuzzer = createFuzzer(draw);
  const port = Number(new URL(stack.runtime().mqttUrl).port);
  const counts: Record<Kind, Count> = {
    preAuth: { packets: 0, connections: 0 },
    postAuth: { packets: 0, connections: 0 },
    sequence: { packets: 0, connections: 0 },
  };
  const total = () => Object.values(counts).reduce((sum, { packets }) => sum + packets, 0);
  const quartersMib: number[] = [];
  let [stayedOpen, saidAt] = [0, 0];
  const worker = async (who: Identity, index: number): Promise<void> => {
    const address = `127.0.1.${index + 1}`;
    while (total() < n && !stack.run().isOver()) {
      const kind = kindOf(draw.ratio());
      const batch = fuzzer[kind](who);
      counts[kind].packets += batch.packets;
      counts[kind].connections += 1;
      if ((await play(port, address, batch)) === 'open') stayedOpen += 1;
      if (total() - saidAt < n / 4) continue;
      saidAt = total();
      quartersMib.push(Math.round(residentBytes(stack.run().pid) / 2 ** 20));
      say(`${saidAt} packets, ${quartersMib.at(-1)} MiB`);
    }
  };
  await Promise.all(identities.map(worker));
  return { packets: total(), counts, stayedOpen, quartersMib, parserVerdicts: fuzzer.errorsSeen() };
}

async function run(scope: Scope): Promise<Figures> {
  const stack = await startStack({ KR_LOG_LEVEL: 'warn' });
  try {
    const attackers = await enrolIdentities(stack, 'fuzz', workers);
    const [calm, honest] = await enrolIdentities(stack, 'honest', 2);
    const { pid } = stack.run();
    const before = await liveHonestly(stack, calm, () => sleep(3_000));
    // Warm first: what a server takes for its first clients of any kind is not growth.
    await attack(stack, attackers, { ...scope, n: Math.ceil(scope.n / 20), seed: scope.seed + 1 });
    const memory = watchMemory(() => pid);
    let attacked: Awaited<ReturnType<typeof attack>> | undefined;
    const during = await liveHonestly(stack, honest ?? calm, async () => {
      attacked = await attack(stack, attackers, scope);
    });
    await sleep(2_000);
    const memoryMib = memory.stop();
    const lines = stack.run().stderr().split('\n');
    const bugs = lines.filter((line) => line.includes('a bug'));
    const grownMib = memoryMib.endMib - memoryMib.baseMib;
    const violations = [
      ...(stack.run().isOver() ? ['the server ended'] : []),
      ...bugs,
      ...(during.unstored === 0 ? [] : [`${during.unstored} honest samples not stored`]),
      ...(during.lost === 0 ? [] : [`the honest session was lost ${during.lost} times`]),
      ...(grownMib > 50 ? [`memory grew by ${grownMib} MiB`] : []),
    ];
    return {
      ...attacked,
      upperBound: upperBound(attacked?.packets ?? 1),
      memoryMib,
      ingest: await stack.api.ingestFigures(),
      honestSamples: during.samples,
      honestPingMs: { before: spread(before.pingMs), during: spread(during.pingMs) },
      warnings: lines.length,
      violations,
    };
  } finally {
    await stack.remove();
  }
}

export const r22 = experiment(import.meta, { name: 'R22', short: 10_000, long: 1_000_000, run });
