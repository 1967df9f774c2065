/**
 * A bare broker under load: publishers instead of daemons, and a subscriber of ours that tells what
 * was delivered. The broker needs no server behind it, only room for our topics.
 */
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import { type OpenBreakable } from '../line.ts';
import type { Target } from '../target.ts';
import { createArrivals } from './arrivals.ts';
import { createPublisher } from './publisher.ts';

export class BrokerError extends Error {
  override readonly name = 'BrokerError';
  readonly code = 'KR_BROKER';
}

export type BrokerTargetDeps = {
  url: string;
  /** For every connection; null: each takes its own client id. */
  user: string | null;
  password: string | null;
  caSha256: string | null;
  openClient: OpenBreakable;
  /** Every message is read as a server would read it. */
  isChecked: boolean;
  /** Of the broker, on this machine. */
  pid: number | null;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
};

const subscribeMaxMs = 15_000;
const refusalsMax = 3;

/** OpenSSL tells where in its sources it stumbled; the words are between. */
const shortened = (reason: string): string =>
  /:SSL routines:[^:]*:([^:]+):/.exec(reason)?.[1] ?? reason.trim();

/** @throws BrokerError when the broker does not let the subscriber in. */
function subscribe(deps: BrokerTargetDeps, clusters: readonly string[], on: Listener) {
  const { url, user, password, caSha256, openClient, clock, random, newId, log } = deps;
  const clientId = `kr-load-${newId().slice(-12)}`;
  return new Promise<() => Promise<void>>((resolve, reject) => {
    let isUp = false;
    let refusals = 0;
    const giveUp = (why: string): void => {
      cancel();
      void client.end();
      const wayOut = 'check --broker-user, KR_MQTT_PASSWORD and its rights to kr/v1/#';
      const { host } = new URL(url);
      reject(new BrokerError(`${host}: the subscriber got nowhere (${why}); ${wayOut}`));
    };
    const client = openClient({
      url,
      clientId,
      username: user ?? clientId,
      password: password ?? '',
      ...(caSha256 !== null && { fingerprintSha256: caSha256 }),
      subscriptions: clusters.map((cluster) => `kr/v1/${cluster}/+/telemetry`),
      will: () => undefined,
      onConnect() {
        isUp = true;
        cancel();
        resolve(() => client.end());
      },
      onMessage: on,
      onClose(reason) {
        refusals += 1;
        if (isUp)
          log.error({ reason }, 'the subscriber lost the broker: what it missed is missing');
        else if (refusals >= refusalsMax) giveUp(shortened(reason));
      },
      clock,
      random,
      log,
    });
    const cancel = clock.after(subscribeMaxMs, () => giveUp('no answer'));
  });
}

type Listener = (topic: string, payload: Uint8Array) => void;

export function brokerTarget(deps: BrokerTargetDeps): Target {
  const { clock } = deps;
  const arrivals = createArrivals(deps.isChecked, clock.monotonicMs());
  let unsubscribe = async (): Promise<void> => undefined;
  return {
    mqttUrl: deps.url,
    async enrol(world) {
      unsubscribe = await subscribe(deps, [...world.clusters.keys()], (topic, payload) =>
        arrivals.arrived(topic, payload, clock.monotonicMs()),
      );
      return [...world.nodes.values()].map(({ spec: { cluster, node } }) => ({
        cluster,
        node,
        daemon: node,
        secret: deps.password ?? '',
        serverId: '',
        serverKeys: [],
      }));
    },
    makeSeat: (seatDeps, credential) =>
      createPublisher(seatDeps, credential, { arrivals, user: deps.user }),
    read: async () => arrivals.reading(clock.monotonicMs()),
    stored: async () => ({ ...arrivals.held(), isFinal: true }),
    api: null,
    pid: () => deps.pid,
    close: () => unsubscribe(),
  };
}
