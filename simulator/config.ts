/**
 * Where the simulator finds the server it loads: by `<KR_DATA_DIR>/http.sock` on this machine, or
 * by KR_URL with KR_API_TOKEN; KR_MQTT_URL overrides where the daemons connect. The only reader of
 * the environment here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';

const Environment = z.object({
  KR_DATA_DIR: z.string().min(1).default('./data'),
  KR_URL: z.url({ protocol: /^https?$/, error: 'KR_URL: use http://host:port' }).optional(),
  KR_API_TOKEN: z.string().min(1).optional(),
  KR_MQTT_URL: z
    .url({ protocol: /^(mqtts?|wss?)$/, error: 'KR_MQTT_URL: use mqtt://host:port' })
    .optional(),
  KR_MQTT_PASSWORD: z.string().min(1).optional(),
  KR_MQTT_PASSWORD_FILE: z.string().min(1).optional(),
});

export const Runtime = z.object({
  pid: z.int().min(1),
  httpUrl: z.string(),
  mqttUrl: z.string(),
  socketPath: z.string(),
});
export type Runtime = z.infer<typeof Runtime>;

export type Server = {
  /** How the API is reached. */
  api: { url: string; token: string | null; socketPath: string | null };
  mqttUrl: string;
  /** The backend's process, when it runs on this machine; asked anew, since it may restart. */
  pid: () => number | null;
};

export class SimulatorConfigError extends Error {
  override readonly name = 'SimulatorConfigError';
  readonly code = 'KR_CONFIG';
}

/** What the running backend says of itself; null when none runs in this folder. */
export function readRuntime(dataDir: string): Runtime | null {
  const file = join(dataDir, 'runtime.json');
  if (!existsSync(file)) return null;
  const parsed = Runtime.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  return parsed.success ? parsed.data : null;
}

const fail = (message: string): never => {
  throw new SimulatorConfigError(message);
};

/** The server that runs on this machine in this data folder. */
export function localServer(dataDir: string, mqttUrl?: string): Server {
  const folder = resolve(dataDir);
  const runtime =
    readRuntime(folder) ??
    fail(`no server runs in ${folder}: run npm start first, or set KR_URL and KR_API_TOKEN`);
  return {
    api: { url: 'http://localhost', token: null, socketPath: runtime.socketPath },
    mqttUrl: mqttUrl ?? runtime.mqttUrl,
    pid: () => readRuntime(folder)?.pid ?? null,
  };
}

export function readConfig(env: NodeJS.ProcessEnv = process.env): Server {
  const parsed = Environment.safeParse(env);
  if (!parsed.success) return fail(parsed.error.issues.map(({ message }) => message).join('\n'));
  const { KR_DATA_DIR, KR_URL, KR_API_TOKEN, KR_MQTT_URL } = parsed.data;
  if (KR_URL === undefined) return localServer(KR_DATA_DIR, KR_MQTT_URL);
  return {
    api: {
      url: KR_URL,
      token: KR_API_TOKEN ?? fail('KR_API_TOKEN: needed with KR_URL; create one under tokens'),
      socketPath: null,
    },
    mqttUrl: KR_MQTT_URL ?? fail('KR_MQTT_URL: needed with KR_URL; use mqtts://host:8883'),
    pid: () => null,
  };
}

export const isLoopback = (url: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(new URL(url).hostname);

/** The server under load and its broker, as far as they are not on this machine. */
export const elsewhere = ({ api, mqttUrl }: Pick<Server, 'api' | 'mqttUrl'>): string[] => [
  ...(api.socketPath === null && !isLoopback(api.url) ? [api.url] : []),
  ...(isLoopback(mqttUrl) ? [] : [mqttUrl]),
];

/** Never an argument: those are seen by every user of the machine. */
export function readBrokerPassword(env: NodeJS.ProcessEnv = process.env): string | null {
  const parsed = Environment.safeParse(env);
  const { KR_MQTT_PASSWORD, KR_MQTT_PASSWORD_FILE } = parsed.success ? parsed.data : {};
  if (KR_MQTT_PASSWORD_FILE === undefined) return KR_MQTT_PASSWORD ?? null;
  return readFileSync(KR_MQTT_PASSWORD_FILE, 'utf8').trim();
}
