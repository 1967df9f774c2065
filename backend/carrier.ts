/**
 * What carries the messages: the embedded broker with its doors, or a link to an external one.
 * TLS is our own CA unless the administrator brought certificates.
 */
import { readFileSync } from 'node:fs';
import { connectServerLink } from '../broker/server-link.ts';
import type { Cancel, Clock, Log, Random } from '../broker/contract/ports.ts';
import type { Directory, ServerLink } from '../broker/port.ts';
import { type Broker, type BrokerStats, createBroker } from '../broker/server.ts';
import { ensureTls, localNames, type TlsFiles } from '../broker/tls.ts';
import { defaultMqttPort, type Settings } from './config.ts';

const renewalCheckMs = 24 * 3_600_000;

export type Carrier = {
  link: ServerLink;
  mqttUrl: string;
  /** Where daemons of other hosts connect, null while TLS is off. */
  mqttTlsUrl: string | null;
  /** null behind an external broker. */
  stats: (() => BrokerStats) | null;
  kick(clientId: string): void;
  close(): Promise<void>;
};

type CarrierDeps = { directory: Directory; clock: Clock; random: Random; log: Log };

/** Our certificates, or the administrator's; null while TLS is off. */
export async function tlsFiles(
  settings: Settings,
  folder: string,
  nowMs: number,
): Promise<TlsFiles | null> {
  const { KR_TLS_HOST: host, KR_TLS_CERT: certFile, KR_TLS_KEY: keyFile } = settings;
  if (host === undefined) return null;
  const caFile = settings.KR_TLS_CA;
  return ensureTls({
    folder,
    names: localNames(settings.KR_TLS_NAMES),
    nowMs,
    ...(certFile !== undefined &&
      keyFile !== undefined && { given: { certFile, keyFile, ...(caFile && { caFile }) } }),
  });
}

async function embedded(
  settings: Settings,
  { tls, renew }: { tls: TlsFiles | null; renew: () => Promise<TlsFiles | null> },
  { directory, clock, log }: CarrierDeps,
): Promise<Carrier> {
  const { KR_MQTT_HOST: host, KR_MQTT_PORT: port, KR_MQTT_WS_PORT: wsPort } = settings;
  const broker: Broker = await createBroker({
    directory,
    clock,
    log,
    tcp: { host, port: port ?? defaultMqttPort, fallBack: port === undefined },
    ...(tls !== null &&
      settings.KR_TLS_HOST !== undefined && {
        tls: { host: settings.KR_TLS_HOST, port: settings.KR_TLS_MQTT_PORT, ...tls },
      }),
    ...(wsPort !== undefined && { ws: { host, port: wsPort } }),
  });
  const urls = await broker.listen();
  let cancel: Cancel = () => undefined;
  const renewal = async (): Promise<void> => {
    try {
      const files = await renew();
      if (files) broker.renewTls(files);
    } catch (error) {
      log.error({ err: error }, 'certificate not renewed, tried again tomorrow');
    }
    cancel = clock.after(renewalCheckMs, renewal);
  };
  if (tls !== null) cancel = clock.after(renewalCheckMs, renewal);
  return {
    link: broker,
    mqttUrl: urls.mqttUrl,
    mqttTlsUrl: urls.tlsUrl,
    stats: () => broker.stats(),
    kick: (clientId) => broker.kick(clientId),
    async close() {
      cancel();
      await broker.close();
    },
  };
}

/** The CA of a private external broker, if one is named. */
export const caOf = ({ KR_MQTT_CA: path }: Settings): { caPem?: string } =>
  path === undefined ? {} : { caPem: readFileSync(path, 'utf8') };

async function external(
  settings: Settings,
  url: string,
  { clock, random, log }: CarrierDeps,
): Promise<Carrier> {
  const username = settings.KR_MQTT_USERNAME;
  const link = await connectServerLink({
    url,
    clientId: username,
    username,
    password: settings.KR_MQTT_PASSWORD ?? '',
    ...caOf(settings),
    clock,
    random,
    log,
  });
  return {
    link,
    mqttUrl: url,
    mqttTlsUrl: null,
    stats: null,
    // Its sessions are its administrator's; a revoked credential ends with its next file.
    kick: () => undefined,
    close: () => link.close(),
  };
}

export const openCarrier = (
  settings: Settings,
  tls: { tls: TlsFiles | null; renew: () => Promise<TlsFiles | null> },
  deps: CarrierDeps,
): Promise<Carrier> =>
  settings.KR_MQTT_URL === undefined
    ? embedded(settings, tls, deps)
    : external(settings, settings.KR_MQTT_URL, deps);
