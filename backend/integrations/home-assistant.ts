/**
 * Nodes and guests as devices of Home Assistant, by MQTT discovery to the user's own broker (MQTT
 * 5). It says what is so, and takes one wish: wake this node, which goes the way of every command
 * past guards, limits and audit. Invariant: a retained or repeated press is nobody's wish now.
 */
import type { DaemonClient, DaemonClientOptions } from '../../broker/client.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import type { Commands } from '../act/commands.ts';
import { createLoop } from '../act/loop.ts';
import type { Fleet } from '../state/fleet.ts';
import {
  bridgeTopic,
  type Device,
  guestDevice,
  nodeDevice,
  pressed,
  wakeFilter,
  wakeTarget,
} from './discovery.ts';

const roundMs = 5_000;
const answerMax = 255;

export type HomeAssistantOptions = {
  url: string;
  username: string;
  password: string;
  caPem?: string;
  /** Home Assistant's discovery prefix, `homeassistant` unless it was changed there. */
  prefix: string;
};

export type HomeAssistantDeps = {
  openClient: (options: DaemonClientOptions) => DaemonClient;
  fleet: () => Fleet;
  commands: Pick<Commands, 'submit' | 'lease'>;
  version: string;
  publicUrl: string | null;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
};

const retained = (topic: string, payload: string) => ({
  topic,
  payload,
  qos: 1 as const,
  retain: true,
});

function devicesOf(deps: HomeAssistantDeps, answers: ReadonlyMap<string, string>): Device[] {
  const { clock, version, publicUrl } = deps;
  const fleet = deps.fleet();
  const from = { version, url: publicUrl };
  const nowMs = clock.monotonicMs();
  const nodes = [...fleet.nodes.values()].map((record) => {
    const answer = answers.get(nodeKey(record.cluster, record.node)) ?? null;
    return nodeDevice(record, { nowMs, answer, from });
  });
  const heard = new Set(
    nodes.filter(({ isAvailable }) => isAvailable).map(({ stateTopic }) => stateTopic),
  );
  const guests = [...fleet.guests.values()].map((record) =>
    guestDevice(record, {
      isAvailable: heard.has(`kernreaktor/${record.cluster}/${record.node}/state`),
      from,
    }),
  );
  return [...nodes, ...guests];
}

/** What the broker was told last, so that only changes are said. */
function createTeller(prefix: string, publish: (topic: string, text: string) => void) {
  const said = new Map<string, string>();
  const devices = new Map<string, Device>();
  const say = (topic: string, text: string): void => {
    if (said.get(topic) === text) return;
    said.set(topic, text);
    publish(topic, text);
  };
  return {
    forget: () => said.clear(),
    tell(now: readonly Device[]): void {
      const gone = new Set(devices.keys());
      for (const device of now) {
        gone.delete(device.configPath);
        devices.set(device.configPath, device);
        say(`${prefix}/${device.configPath}`, JSON.stringify(device.config));
        say(device.stateTopic, JSON.stringify(device.state));
        say(device.availabilityTopic, device.isAvailable ? 'online' : 'offline');
      }
      for (const path of gone) {
        const device = devices.get(path);
        devices.delete(path);
        // An empty retained message takes a device away.
        const topics = [`${prefix}/${path}`, device?.stateTopic, device?.availabilityTopic];
        for (const topic of topics) if (topic !== undefined) say(topic, '');
      }
    },
  };
}

export function startHomeAssistant(options: HomeAssistantOptions, deps: HomeAssistantDeps) {
  const { commands, clock, random, newId, log } = deps;
  const { prefix } = options;
  const birthTopic = `${prefix}/status`;
  const answers = new Map<string, string>();
  const { host } = new URL(options.url);

  async function wake({ cluster, node }: { cluster: string; node: string }): Promise<void> {
    // Of several backends on one broker one acts: whoever leads the cluster.
    if (commands.lease.epochOf(cluster) === undefined) return;
    const submitted = await commands.submit({
      cluster,
      node,
      kind: 'node.wake',
      args: {},
      origin: 'token',
      actor: 'home-assistant',
      reason: 'pressed in Home Assistant',
      approved: true,
    });
    const { refusal } = submitted.ok ? { refusal: null } : submitted;
    const words = refusal === null ? 'accepted' : `${refusal.code}: ${refusal.detail}`;
    log.info({ cluster, node, answer: words }, 'wake asked for by Home Assistant');
    const at = new Date(clock.wallMs()).toISOString().slice(0, 19);
    answers.set(nodeKey(cluster, node), `${at}Z ${words}`.slice(0, answerMax));
    loop.wake();
  }

  function onMessage(topic: string, payload: Uint8Array, isRetained = false): void {
    const text = Buffer.from(payload).toString('utf8');
    if (topic === birthTopic) {
      // A restarted Home Assistant has forgotten; said again at once, everything.
      if (text === 'online') announce();
      return;
    }
    const target = wakeTarget(topic);
    if (target === null || isRetained || text !== pressed) return;
    if (!deps.fleet().nodes.has(nodeKey(target.cluster, target.node))) return;
    wake(target).catch((error: unknown) => log.warn({ err: error }, 'wake was not asked for'));
  }

  const client = deps.openClient({
    url: options.url,
    clientId: `kernreaktor-ha-${newId()}`,
    username: options.username,
    password: options.password,
    ...(options.caPem === undefined ? {} : { caPem: options.caPem }),
    protocolVersion: 5,
    isWillRetained: true,
    subscriptions: [birthTopic, wakeFilter],
    will: () => retained(bridgeTopic, 'offline'),
    onConnect() {
      log.info({ broker: host }, 'Home Assistant broker connected');
      announce();
    },
    onMessage,
    onClose: (reason) => log.warn({ broker: host, reason }, 'the broker of Home Assistant is away'),
    clock,
    random,
    log,
  });
  const teller = createTeller(prefix, (topic, text) => {
    client.publish(retained(topic, text)).catch(() => teller.forget());
  });
  const round = async (): Promise<void> => {
    if (client.isConnected()) teller.tell(devicesOf(deps, answers));
  };
  const loop = createLoop({ name: 'home-assistant', clock, log, everyMs: roundMs, round });

  function announce(): void {
    teller.forget();
    client.publish(retained(bridgeTopic, 'online')).catch(() => undefined);
    loop.wake();
  }
  loop.start();
  return {
    async stop(): Promise<void> {
      await loop.stop();
      await client.publish(retained(bridgeTopic, 'offline')).catch(() => undefined);
      await client.end();
    },
  };
}
