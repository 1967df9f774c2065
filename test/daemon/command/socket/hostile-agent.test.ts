/**
 * An agent that was taken over, at the executor's socket: it knows the protocol, the server's
 * public keys and every message that ever passed, and sends what it likes. It may waste the
 * executor's time; it must not end it, and no effect may come of it.
 */
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Random } from '../../../../broker/contract/ports.ts';
import { encodeFrame } from '../../../../daemon/command/socket/frames.ts';
import { seededRandom } from '../../../support/clock.ts';
import { until } from '../../../support/servers.ts';
import { cluster, createSigner, node } from '../rig.ts';
import { createHouse, type House, newId } from './house.ts';

const framesCount = 10_000;

let house: House;
beforeEach(async () => {
  house = await createHouse();
  await house.start();
});
afterEach(() => house.remove());

const below = (random: Random, bound: number): number => Math.floor(random.ratio() * bound);
const pick = <T>(random: Random, items: readonly T[]): T => items[below(random, items.length)] as T;

/** At least one byte differs, wherever it falls: length, JSON, signature. */
function mutated(random: Random, frame: Buffer): Buffer {
  const copy = Buffer.from(frame);
  for (let flips = 1 + below(random, 4); flips > 0; flips -= 1) {
    const at = below(random, copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << below(random, 8));
  }
  switch (below(random, 4)) {
    case 0:
      return copy.subarray(0, 1 + below(random, copy.length));
    case 1:
      return Buffer.concat([copy, Buffer.from(random.bytes(below(random, 64)))]);
    default:
      return copy;
  }
}

/** Whole frames that say something else than they did: a letter of the JSON is changed. */
function reworded(random: Random, value: object): Buffer {
  const text = JSON.stringify(value);
  const at = below(random, text.length);
  const letter = String.fromCharCode(32 + below(random, 95));
  const body = Buffer.from(text.slice(0, at) + letter + text.slice(at + 1));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}

function* hostileFrames(random: Random, used: { grant: object }): Generator<Buffer> {
  const foreign = createSigner();
  const nonce = '0'.repeat(32);
  for (let count = 0; count < framesCount; count += 1) {
    const offer = house.offer({ epoch: below(random, 5) });
    const ask = (verb: object): object => ({ id: 1 + below(random, 1_000), ask: verb });
    const say = (message: object): object => ask({ verb: 'deliver', message });
    const forged = foreign.sign(house.grantOf(offer, { nonce }));
    const keyId = house.signer.key.keyId;
    const values: object[] = [
      ask({ verb: 'greet', run: newId(), cluster, serverKeys: [foreign.key] }),
      ask({ verb: 'introduce', node }),
      ask({ verb: 'introduce', node: 'n7' }),
      ask({ verb: 'describe', node }),
      ask({ verb: 'sample', node }),
      ask({ verb: 'perform', node, work: { kind: 'node.shutdown' } }),
      say({ name: 'offer', node, body: offer }),
      say({ name: 'grant', node, body: forged }),
      say({ name: 'grant', node, body: { ...forged, keyId } }),
      say({ name: 'grant', node, body: used.grant }),
      say({ name: 'server', body: forged }),
      say({ name: 'sync', node, session: newId(), body: forged }),
      { note: { verb: 'connected', node, online: random.ratio() < 0.5 } },
      { re: 1 + below(random, 50), ok: true, value: { packets: 1, detail: 'x' } },
      { re: 1, ok: false, code: 'KR_X', message: 'x' },
      { __proto__: null, constructor: { prototype: { ok: true } }, note: [] },
    ];
    const value = pick(random, values);
    switch (below(random, 4)) {
      case 0:
        yield encodeFrame(value);
        break;
      case 1:
        yield mutated(random, encodeFrame(value));
        break;
      case 2:
        yield reworded(random, value);
        break;
      default:
        yield Buffer.from(random.bytes(1 + below(random, 300)));
    }
  }
}

async function open(): Promise<Socket> {
  const socket = connect(house.path);
  socket.on('error', () => undefined);
  socket.resume();
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  const serverKeys = [house.signer.key];
  const ask = { verb: 'greet', run: newId(), cluster, serverKeys };
  socket.write(encodeFrame({ id: 1, ask }));
  return socket;
}

async function run(): Promise<{ commandId: string; grant: object }> {
  const agent = await house.agent();
  const offer = house.offer({ epoch: 9 });
  const { commandId } = offer;
  await agent.executor.deliver({ name: 'offer', node, body: offer });
  const claims = () => agent.said.flatMap((one) => (one.name === 'claim' ? [one.body] : []));
  const own = () => claims().find((claim) => claim.commandId === commandId);
  await until(() => own() !== undefined, { withinMs: 10_000, what: 'claim' });
  const grant = house.signer.sign(house.grantOf(offer, own() ?? { nonce: '' }));
  await agent.executor.deliver({ name: 'grant', node, body: grant });
  const isDone = () => house.world.effects.includes(commandId);
  await until(isDone, { withinMs: 10_000, what: 'effect' });
  agent.close();
  return { commandId, grant };
}

it(`survives ${framesCount} frames of a hostile agent without an effect`, async () => {
  const first = await run();
  const random = seededRandom(20_261_121);
  let socket = await open();
  let sent = 0;
  for (const frame of hostileFrames(random, first)) {
    if (!socket.writable) socket = await open();
    await new Promise<void>((resolve) => socket.write(frame, () => resolve()));
    // A cut reaches this side before the next frame, so that few are sent to a closed door.
    for (let turn = 0; turn < 3; turn += 1) await new Promise((r) => setImmediate(r));
    sent += 1;
  }
  socket.destroy();
  expect(sent).toBe(framesCount);
  // A length that lies, or text that is no JSON, ends the connection: many must have.
  const cuts = house.log.lines.filter(({ message }) => message.includes('broke the frames'));
  expect(cuts.length).toBeGreaterThan(framesCount / 20);
  expect(house.world.effects).toEqual([first.commandId]);
  const { commandId } = await run();
  expect(house.world.effects).toEqual([first.commandId, commandId]);
}, 120_000);

it('keeps nothing of a frame that announces more than the bound, or never ends', async () => {
  const socket = await open();
  const head = Buffer.alloc(4);
  head.writeUInt32BE(0xffff_ffff);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.write(head);
  await closed;
  const slow = await open();
  slow.write(Buffer.from([0, 7, 255, 255]));
  slow.write(Buffer.alloc(100_000, 0x20));
  await expect(house.agent()).resolves.toBeDefined();
  slow.destroy();
});

it('cuts an agent that asks for ever and never reads the answers', async () => {
  const guests = Array.from({ length: 400 }, (_, index) => ({
    id: `${index}`,
    name: 'x'.repeat(100),
    note: 'x'.repeat(400),
  }));
  house.world.description = { ...house.world.description, guests: guests as never };
  const socket = connect(house.path);
  socket.on('error', () => undefined);
  const serverKeys = [house.signer.key];
  socket.write(encodeFrame({ id: 1, ask: { verb: 'greet', run: newId(), cluster, serverKeys } }));
  socket.pause();
  let id = 1;
  await until(
    () => {
      for (let count = 0; count < 20 && socket.writableLength < 100_000; count += 1) {
        id += 1;
        socket.write(encodeFrame({ id, ask: { verb: 'describe', node } }));
      }
      return house.log.lines.some(({ message }) => message.includes('does not read'));
    },
    { withinMs: 30_000, what: 'the cut' },
  );
  socket.destroy();
  await expect(house.agent()).resolves.toBeDefined();
});
