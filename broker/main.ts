/**
 * Composition of a broker that runs alone (`kernreaktor broker`): the file directory, the
 * certificates and the same server the backend embeds. The backend reaches it by KR_MQTT_URL.
 */
import type { Clock, Log } from './contract/ports.ts';
import type { BrokerProcessConfig } from './config.ts';
import { fileDirectory } from './file-directory.ts';
import { type Broker, createBroker, type Urls } from './server.ts';
import { ensureTls, localNames, type TlsFiles } from './tls.ts';

const renewalCheckMs = 24 * 3_600_000;

export type BrokerProcess = { urls: Urls; caFingerprint: string | null; stop(): Promise<void> };

export async function startBrokerProcess(
  config: BrokerProcessConfig,
  { clock, log }: { clock: Clock; log: Log },
): Promise<BrokerProcess> {
  let broker: Broker | undefined;
  const directory = await fileDirectory({
    path: config.directoryFile,
    clock,
    log,
    onRevoked: (clientId) => broker?.kick(clientId),
  });
  const certificates = (): Promise<TlsFiles> =>
    ensureTls({
      folder: config.tlsFolder,
      names: localNames(config.tlsNames),
      nowMs: clock.wallMs(),
      ...(config.tlsFiles && { given: config.tlsFiles }),
    });
  const tls = config.tls && (await certificates());
  const created = await createBroker({
    directory,
    clock,
    log,
    tcp: config.tcp,
    get server() {
      return directory.server;
    },
    ...(config.tls && tls && { tls: { ...config.tls, ...tls } }),
    ...(config.wsPort !== undefined && { ws: { host: config.tcp.host, port: config.wsPort } }),
  });
  broker = created;
  const urls = await created.listen();
  log.info({ ...urls }, 'broker listens');
  const renew = async (): Promise<void> => {
    try {
      created.renewTls(await certificates());
    } catch (error) {
      log.error({ error: String(error) }, 'certificate not renewed, the old one stays');
    }
    cancelRenewal = clock.after(renewalCheckMs, renew);
  };
  let cancelRenewal = tls ? clock.after(renewalCheckMs, renew) : () => undefined;
  return {
    urls,
    caFingerprint: tls?.caFingerprint ?? null,
    async stop() {
      cancelRenewal();
      directory.stop();
      await created.close();
    },
  };
}
