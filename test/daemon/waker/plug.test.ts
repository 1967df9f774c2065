import { pbkdf2Sync } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDaemonClient } from '../../../broker/client.ts';
import { createPlugWaker } from '../../../daemon/waker/plug.ts';
import { WakersByNode } from '../../../daemon/waker/settings.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { freePort, type Server, startMosquitto, until } from '../../support/servers.ts';

let folder: string;
let broker: Server;
let plug: MqttClient;
let heard: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-plug-'));
  broker = await startMosquitto(['allow_anonymous true']);
  plug = await connectAsync(broker.url);
});
afterAll(async () => {
  await plug.endAsync();
  await broker.stop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(() => {
  plug.removeAllListeners('message');
  heard = [];
});

/** As `mosquitto_passwd -b` writes it. */
function hashOf(password: string): string {
  const salt = Buffer.from('kernreaktor!');
  const hash = pbkdf2Sync(password, salt, 101, 64, 'sha512');
  return `$7$101$${salt.toString('base64')}$${hash.toString('base64')}`;
}

const topic = 'cmnd/big/POWER';
const stateTopic = 'stat/big/POWER';

/** As a Tasmota plug does: obeys its command topic and says what it did. */
async function listen(say: string | null): Promise<void> {
  plug.on('message', (_, payload) => {
    heard.push(payload.toString());
    if (say !== null) plug.publish(stateTopic, say);
  });
  await plug.subscribeAsync(topic, { qos: 1 });
}

function wake(over: object = {}, signal = new AbortController().signal) {
  const settings = WakersByNode.parse({ big: [{ kind: 'plug', url: broker.url, topic, ...over }] });
  const [way] = settings['big'] ?? [];
  if (way?.kind !== 'plug') throw new Error('no plug');
  const random = seededRandom(1);
  const newId = idsOf(realClock, random);
  const own = { openClient: openDaemonClient, clock: realClock, random, newId, log: memoryLog() };
  const waker = createPlugWaker(way, own, undefined);
  return waker.wake({ node: 'big', macs: [], broadcasts: [] }, signal);
}

describe('plug', () => {
  it('is switched on, and nothing else, when the broker has taken the message', async () => {
    await listen(null);
    expect((await wake()).detail).toContain(`${topic}: ON`);
    await until(() => heard.length > 0);
    expect(heard).toEqual(['ON']);
  });

  it('is believed when it says that it is on', async () => {
    await listen('POWER=1');
    const { detail } = await wake({ on: '1', stateTopic, stateOn: 'POWER=1' });
    expect(detail).toContain(`${topic}: 1, and ${stateTopic} says POWER=1`);
    expect(heard).toEqual(['1']);
  });

  it('is not believed for what it said on another day, or when it says off', async () => {
    await plug.publishAsync(stateTopic, 'ON', { retain: true, qos: 1 });
    await listen('OFF');
    const stop = new AbortController();
    const waking = wake({ stateTopic }, stop.signal);
    await until(() => heard.length > 0);
    // The plug's own answer has come back through the broker, after everything before it.
    await plug.publishAsync(topic, 'again', { qos: 1 });
    await until(() => heard.includes('again'));
    stop.abort();
    await expect(waking).rejects.toMatchObject({ code: 'KR_WAKE_SEND' });
    await plug.publishAsync(stateTopic, '', { retain: true, qos: 1 });
  });

  it('tells that nobody answers at the address of the broker', async () => {
    const url = `mqtt://127.0.0.1:${await freePort()}`;
    await expect(wake({ url })).rejects.toMatchObject({
      code: 'KR_WAKE_SEND',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it('gives the password of its file to the broker, and tells when that is refused', async () => {
    const locked = await startMosquitto(['allow_anonymous false', 'password_file %FOLDER%/users'], {
      users: `kr:${hashOf('s3cret')}\n`,
    });
    try {
      const passwordFile = join(folder, 'password');
      const own = { url: locked.url, user: 'kr', passwordFile };
      await writeFile(passwordFile, 's3cret\n');
      await chmod(passwordFile, 0o600);
      expect((await wake(own)).packets).toBe(1);
      await writeFile(passwordFile, 'wrong\n');
      await expect(wake(own)).rejects.toThrow(/not authori[sz]ed/i);
    } finally {
      await locked.stop();
    }
  });
});
