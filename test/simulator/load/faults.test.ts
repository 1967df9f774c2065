import { afterEach, describe, expect, it } from 'vitest';
import { type BreakableClient, openDaemonClient } from '../../../broker/client.ts';
import { decode, encode } from '../../../broker/contract/codec.ts';
import type { Fleet } from '../../../simulator/fleet.ts';
import { playFaults } from '../../../simulator/load/faults.ts';
import { broken } from '../../../simulator/load/malformed.ts';
import { seededRandom } from '../../../simulator/prng.ts';
import type { Place } from '../../../simulator/scenarios/scenario.ts';
import { realClock, secretOf, startBroker } from '../../broker/wire.ts';
import { memoryLog } from '../../support/log.ts';
import { message, nodeValues, telemetryBody } from '../../support/messages.ts';
import { until } from '../../support/servers.ts';

/** A fleet that only remembers what was done to it. */
function remembering(size: number) {
  const places = Array.from({ length: size }, (_, index) => ({ cluster: 'c', node: `n${index}` }));
  const held = new Map<string, 'reads' | 'both'>();
  let dropped = 0;
  const each = (of: readonly Place[], run: (node: string) => void): void =>
    of.forEach(({ node }) => run(node));
  const fleet = {
    online: () => places,
    drop: (of: readonly Place[]) => void (dropped += of.length),
    stall: (of: readonly Place[], what: 'reads' | 'both') =>
      each(of, (node) => held.set(node, what)),
    unstall: (of: readonly Place[]) => each(of, (node) => held.delete(node)),
  } as unknown as Fleet;
  return { fleet, held, dropped: () => dropped };
}

describe('faults of a load test', () => {
  it('break the share of the links that was asked for, each time it is due and never at the start', () => {
    const { fleet, dropped } = remembering(1_000);
    const faults = playFaults(
      { droppedLinks: { ratio: 0.1, every: 5_000 } },
      fleet,
      seededRandom(1),
    );
    for (let second = 0; second <= 4; second += 1) faults.second(second);
    expect(dropped()).toBe(0);
    faults.second(5);
    expect(dropped()).toBeGreaterThan(60);
    expect(dropped()).toBeLessThan(140);
    expect(faults.counts().droppedLinks).toBe(dropped());
  });

  it('hold connections for as long as asked, and none when the test is over', () => {
    const { fleet, held } = remembering(100);
    const lasting = { ratio: 0.5, every: 10_000, for: 3_000 };
    const faults = playFaults({ halfOpen: lasting }, fleet, seededRandom(2));
    for (let second = 0; second <= 12; second += 1) faults.second(second);
    expect(held.size).toBeGreaterThan(25);
    expect(new Set(held.values())).toEqual(new Set(['both']));
    faults.second(13);
    expect(held.size).toBe(0);
    for (let second = 14; second <= 20; second += 1) faults.second(second);
    expect(held.size).toBeGreaterThan(25);
    faults.stop();
    expect(held.size).toBe(0);
  });
});

describe('a broken copy of a message', () => {
  it('is refused by the server under the code that was foretold, whichever way it breaks', () => {
    const body = telemetryBody({ node: nodeValues({ cpuRatio: 0.5 }) });
    const { topic, payload } = encode('telemetry', message('telemetry', body, { seq: 1 }));
    expect(decode(topic, Buffer.from(payload)).ok).toBe(true);
    const codes = [0, 0.25, 0.5, 0.75].map((ratio) => {
      const { payload: bad, code } = broken(payload, ratio);
      const decoded = decode(topic, Buffer.from(bad));
      expect(decoded.ok ? 'taken' : decoded.rejection.code).toBe(code);
      return code;
    });
    expect(new Set(codes).size).toBe(4);
  });
});

describe('a connection that is stalled', () => {
  const closers: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).toReversed()) await close();
  });
  async function connected(onMessage: () => void) {
    const { broker, directory, received, urls } = await startBroker();
    closers.push(() => broker.close());
    const identity = 'home/pve1';
    directory.add({ cluster: 'home', daemon: 'pve1' });
    const client: BreakableClient = openDaemonClient({
      url: urls.mqttUrl,
      clientId: identity,
      username: identity,
      password: secretOf(identity),
      subscriptions: ['kr/v1/home/pve1/receipt'],
      will: () => undefined,
      onConnect: () => undefined,
      onMessage,
      onClose: () => undefined,
      clock: realClock,
      random: seededRandom(3),
      log: memoryLog(),
    });
    closers.push(() => client.end());
    await until(() => client.isConnected(), { what: 'the connection', withinMs: 10_000 });
    const say = (): void =>
      void client
        .publish({ topic: 'kr/v1/home/pve1/telemetry', payload: '{}', qos: 0, retain: false })
        .catch(() => undefined);
    const tell = (): Promise<unknown> =>
      broker.publish({ topic: 'kr/v1/home/pve1/receipt', payload: '{}', qos: 1, retain: false });
    return { broker, client, received, say, tell };
  }

  it('in both directions stays open, passes nothing, and passes all of it afterwards', async () => {
    let heard = 0;
    const { broker, client, received, say, tell } = await connected(() => void (heard += 1));
    client.stall('both');
    say();
    await tell();
    // The broker has handled everything that came, since its own message has been sent.
    expect([received.length, heard, broker.stats().clients]).toEqual([0, 0, 1]);
    client.unstall();
    await until(() => received.length === 1 && heard === 1, { what: 'both', withinMs: 10_000 });
  });

  it('in reading alone goes on sending', async () => {
    let heard = 0;
    const { client, received, say, tell } = await connected(() => void (heard += 1));
    client.stall('reads');
    await tell();
    say();
    await until(() => received.length === 1, { what: 'the message', withinMs: 10_000 });
    expect(heard).toBe(0);
    client.unstall();
    await until(() => heard === 1, { what: 'the receipt', withinMs: 10_000 });
  });
});
