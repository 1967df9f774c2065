/**
 * Switches on the plug that a machine hangs on, by MQTT. It only ever says "on": switching off
 * first, to make an edge, would cut the power of a machine that runs after all. A connection lives
 * as long as one wake.
 */
import { readFileSync } from 'node:fs';
import type { DaemonClient, DaemonClientOptions } from '../../broker/client.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import { WakeError, type Waker, type WakeRequest, type WakeSent } from './port.ts';
import { readSecret } from './secret.ts';
import type { PlugSettings } from './settings.ts';

export type PlugDeps = {
  openClient: (options: DaemonClientOptions) => DaemonClient;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
};

/** A plug switches at once; what takes longer is not there. */
const timeoutMs = 20_000;

const hostOf = ({ url }: PlugSettings): string => new URL(url).host;

type Attempt = { sent: () => void; failed: (error: WakeError) => void };

function openFor(settings: PlugSettings, deps: PlugDeps, { sent, failed }: Attempt) {
  const { topic, on, stateTopic, stateOn, user, passwordFile, caFile } = settings;
  const where = `${hostOf(settings)} ${topic}`;
  // A retained state that comes before is of another day.
  let isTaken = false;
  const publish = async (): Promise<void> => {
    try {
      await client.publish({ topic, payload: on, qos: 1, retain: false });
      isTaken = true;
      if (stateTopic === undefined) sent();
    } catch (cause) {
      failed(new WakeError('KR_WAKE_SEND', `${where}: ${(cause as Error).message}`, { cause }));
    }
  };
  const client = deps.openClient({
    url: settings.url,
    clientId: `kernreaktor-plug-${deps.newId()}`,
    username: user ?? '',
    password: passwordFile === undefined ? '' : readSecret(passwordFile),
    ...(caFile === undefined ? {} : { caPem: readFileSync(caFile, 'utf8') }),
    subscriptions: stateTopic === undefined ? [] : [stateTopic],
    will: () => undefined,
    onConnect: () => void publish(),
    onMessage(_, bytes) {
      if (isTaken && Buffer.from(bytes).toString('utf8') === stateOn) sent();
    },
    onClose: (reason) => failed(new WakeError('KR_WAKE_SEND', `${where}: ${reason}`)),
    clock: deps.clock,
    random: deps.random,
    log: deps.log,
  });
  return client;
}

function attempt(settings: PlugSettings, deps: PlugDeps, signal: AbortSignal): Promise<WakeSent> {
  const { topic, on, stateTopic, stateOn } = settings;
  const where = `${hostOf(settings)} ${topic}`;
  const late = stateTopic === undefined ? 'not taken' : `${stateTopic} did not say ${stateOn}`;
  const ends: (() => void)[] = [];
  const outcome = new Promise<WakeSent>((resolve, reject) => {
    const abort = () => reject(new WakeError('KR_WAKE_SEND', 'the wake was called off'));
    signal.addEventListener('abort', abort, { once: true });
    ends.push(() => signal.removeEventListener('abort', abort));
    const cancel = deps.clock.after(timeoutMs, () =>
      reject(new WakeError('KR_WAKE_SEND', `${where}: ${late} within ${timeoutMs} ms`)),
    );
    ends.push(cancel);
    const seen = stateTopic === undefined ? '' : `, and ${stateTopic} says ${stateOn}`;
    const client = openFor(settings, deps, {
      sent: () => resolve({ packets: 1, detail: `${where}: ${on}${seen}` }),
      failed: reject,
    });
    ends.push(() => void client.end());
  });
  return outcome.finally(() => {
    for (const end of ends) end();
  });
}

export function createPlugWaker(
  settings: PlugSettings,
  deps: PlugDeps,
  serves: Waker['serves'],
): Waker {
  async function wake(_: WakeRequest, signal: AbortSignal): Promise<WakeSent> {
    if (signal.aborted) throw new WakeError('KR_WAKE_SEND', 'the wake was called off');
    return attempt(settings, deps, signal);
  }
  return { name: 'plug', wake, ...(serves && { serves }) };
}
