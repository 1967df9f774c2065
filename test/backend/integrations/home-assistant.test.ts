/**
 * Home Assistant's side, played by an MQTT client on a real Mosquitto:
 * devices, availability, the wake button of a node that is off, and birth messages.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDaemonClient, type BreakableClient } from '../../../broker/client.ts';
import { startHomeAssistant } from '../../../backend/integrations/home-assistant.ts';
import { emptyFleet, type Fleet } from '../../../backend/state/fleet.ts';
import type { Submission } from '../../../backend/act/planned.ts';
import { addNode } from '../http/harness.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { type Server, startMosquitto, until } from '../../support/servers.ts';

const random = seededRandom(3);
const newId = idsOf(virtualClock(), random);
let server: Server;
let fleet: Fleet;
let client: BreakableClient;
let bridge: { stop(): Promise<void> } | null;
let link: BreakableClient | null;
const seen = new Map<string, string>();
const submitted: Submission[] = [];

const connect = (url: string, onMessage: (topic: string, text: string) => void) =>
  openDaemonClient({
    url,
    clientId: newId(),
    username: '',
    password: '',
    subscriptions: ['#'],
    will: () => undefined,
    onConnect: () => undefined,
    onMessage: (topic, payload) => onMessage(topic, Buffer.from(payload).toString('utf8')),
    onClose: () => undefined,
    clock: realClock,
    random,
    log: memoryLog(),
  });

const refusal = {
  status: 409,
  code: 'KR_HOLD',
  field: '',
  detail: 'all is held',
  wayOut: 'wait',
} as const;
let isRefused = false;

function start(): void {
  const clock = { ...realClock };
  bridge = startHomeAssistant(
    { url: server.url, username: '', password: '', prefix: 'homeassistant' },
    {
      openClient: (options) => (link = openDaemonClient(options)),
      fleet: () => fleet,
      commands: {
        lease: { epochOf: () => 1 } as never,
        submit: async (submission) => {
          submitted.push(submission);
          if (isRefused) return { ok: false, refusal };
          return { ok: true, id: newId(), state: 'QUEUED', replayed: false };
        },
      },
      version: '0.1.0',
      publicUrl: null,
      clock,
      random,
      newId,
      log: memoryLog(),
    },
  );
}

beforeEach(async () => {
  server = await startMosquitto(['allow_anonymous true']);
  fleet = emptyFleet();
  seen.clear();
  submitted.length = 0;
  isRefused = false;
  client = connect(server.url, (topic, text) => void seen.set(topic, text));
  await until(() => client.isConnected());
  addNode(
    fleet,
    { cluster: 'home', node: 'pve1', guests: ['104'] },
    { sampleAtMs: realClock.monotonicMs() },
  );
  addNode(
    fleet,
    { cluster: 'home', node: 'pve2' },
    { sampleAtMs: null, desired: 'asleep', online: false },
  );
  bridge = null;
  link = null;
});
afterEach(async () => {
  await bridge?.stop();
  await client.end();
  await server.stop();
});

const config = (id: string): Record<string, never> =>
  JSON.parse(seen.get(`homeassistant/device/${id}/config`) ?? '{}') as Record<string, never>;
const say = (topic: string, text: string, retain = false): Promise<void> =>
  client.publish({ topic, payload: text, qos: 1, retain });
const state = (path: string): Record<string, unknown> =>
  JSON.parse(seen.get(`kernreaktor/${path}/state`) ?? '{}') as Record<string, unknown>;

describe('Home Assistant', () => {
  it('is told of nodes and guests as devices, with what they measure', async () => {
    start();
    await until(() => seen.has('homeassistant/device/kernreaktor_home_guest_104/config'));
    await until(() => seen.has('kernreaktor/home/guests/104/availability'));
    const node = config('kernreaktor_home_pve1') as unknown as {
      dev: { ids: string[] };
      cmps: Record<string, { p: string; unique_id: string; availability: { topic: string }[] }>;
    };
    expect(node.dev.ids).toEqual(['kernreaktor_home_pve1']);
    expect(Object.keys(node.cmps).sort()).toEqual([
      'answer',
      'cpu',
      'guests',
      'memory',
      'power',
      'state',
      'temperature',
      'wake',
    ]);
    const ids = Object.values(node.cmps).map((component) => component.unique_id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(state('home/pve1')).toMatchObject({ state: 'awake', cpu: 25, guests: 1, power: null });
    expect(state('home/guests/104')).toMatchObject({ state: 'running', node: 'pve1' });
    expect(config('kernreaktor_home_guest_104')).toMatchObject({
      dev: { via_device: 'kernreaktor_home_pve1', name: 'guest 104' },
    });
    expect(seen.get('kernreaktor/bridge/availability')).toBe('online');
    expect(seen.get('kernreaktor/home/pve1/availability')).toBe('online');
    expect(seen.get('kernreaktor/home/pve2/availability')).toBe('offline');
    expect(state('home/pve2')).toMatchObject({ state: 'asleep' });
  });

  it('can press the wake button of a node that is off, once each time', async () => {
    start();
    await until(() => seen.has('kernreaktor/home/pve2/state'));
    const { cmps } = config('kernreaktor_home_pve2') as unknown as {
      cmps: { wake: { command_topic: string; payload_press: string; availability: object[] } };
    };
    expect(cmps.wake.availability).toEqual([{ topic: 'kernreaktor/bridge/availability' }]);
    await say(cmps.wake.command_topic, cmps.wake.payload_press);
    await until(() => String(state('home/pve2')['answer']).endsWith('accepted'));
    expect(submitted).toHaveLength(1);
    expect(submitted[0]).toMatchObject({
      cluster: 'home',
      node: 'pve2',
      kind: 'node.wake',
      origin: 'token',
      actor: 'home-assistant',
    });
    isRefused = true;
    await say(cmps.wake.command_topic, cmps.wake.payload_press);
    await until(() => String(state('home/pve2')['answer']).endsWith('KR_HOLD: all is held'));
  });

  it('wakes nobody by a retained press, a wrong word or an unknown node', async () => {
    await say('kernreaktor/home/pve2/wake', 'PRESS', true);
    start();
    await until(() => seen.has('kernreaktor/home/pve2/state'));
    await say('kernreaktor/home/pve2/wake', 'press me');
    await say('kernreaktor/home/nobody/wake', 'PRESS');
    await say('kernreaktor/elsewhere/pve2/wake', 'PRESS');
    // Answered in order: what came before this one was heard and not obeyed.
    await say('kernreaktor/home/pve1/wake', 'PRESS');
    await until(() => submitted.length > 0);
    expect(submitted.map(({ node }) => node)).toEqual(['pve1']);
  });

  it('hears everything again when it says that it was born', async () => {
    start();
    await until(() => seen.has('kernreaktor/home/pve2/state'));
    const topic = 'homeassistant/device/kernreaktor_home_pve1/config';
    await until(() => seen.has(topic));
    seen.delete(topic);
    await say('homeassistant/status', 'offline');
    await say('homeassistant/status', 'online');
    await until(() => seen.has(topic));
    expect(config('kernreaktor_home_pve1')).toHaveProperty('cmps');
  });

  it('sees a node that is gone from the fleet go, and the server itself when its line is cut', async () => {
    start();
    const topic = 'homeassistant/device/kernreaktor_home_pve2/config';
    await until(() => seen.has(topic));
    fleet.nodes.delete('home/pve2');
    await until(() => seen.get(topic) === '', { withinMs: 30_000 });
    link?.drop();
    await until(() => seen.get('kernreaktor/bridge/availability') === 'offline');
    await until(() => seen.get('kernreaktor/bridge/availability') === 'online');
    await bridge?.stop();
    bridge = null;
    await until(() => seen.get('kernreaktor/bridge/availability') === 'offline');
    expect(link?.isConnected()).toBe(false);
  });
});
