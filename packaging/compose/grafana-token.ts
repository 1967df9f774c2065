/**
 * The one-shot `grafana-token` of docker-compose.yml: a token of InfluxDB that reads this
 * organisation's buckets and nothing else, for Grafana. InfluxDB chooses tokens itself, so `init`
 * cannot make it. A token that still reads is kept; it prints none.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { InfluxDB } from '@influxdata/influxdb-client';
import { AuthorizationsAPI, BucketsAPI, OrgsAPI } from '@influxdata/influxdb-client-apis';

export type TokenOrder = { url: string; org: string; adminToken: string; file: string };

/** An empty list means that the token reads nothing; InfluxDB answers 401 to one it forgot. */
async function stillReads({ url, org, file }: TokenOrder): Promise<boolean> {
  if (!existsSync(file)) return false;
  const token = readFileSync(file, 'utf8').trim();
  const buckets = new BucketsAPI(new InfluxDB({ url, token }));
  return buckets.getBuckets({ org, limit: 1 }).then(
    (answer) => (answer.buckets ?? []).length > 0,
    () => false,
  );
}

/** Answers whether a token was made. */
export async function ensureGrafanaToken(order: TokenOrder): Promise<boolean> {
  if (await stillReads(order)) return false;
  const { url, org, adminToken, file } = order;
  const influx = new InfluxDB({ url, token: adminToken });
  const { orgs = [] } = await new OrgsAPI(influx).getOrgs({ org });
  const orgID = orgs[0]?.id;
  if (orgID === undefined) throw new Error(`${org} is no organisation of the InfluxDB at ${url}`);
  const { token } = await new AuthorizationsAPI(influx).postAuthorizations({
    body: {
      orgID,
      description: 'Grafana of Kernreaktor, reads only',
      permissions: [{ action: 'read', resource: { type: 'buckets', orgID } }],
    },
  });
  if (!token) throw new Error('InfluxDB answered without a token');
  // Grafana runs as a user of its own; the volume, which only it mounts, is the wall.
  writeFileSync(`${file}.new`, token, { mode: 0o444 });
  renameSync(`${file}.new`, file);
  return true;
}

if (import.meta.main) {
  const [url = '', org = '', tokenFile = '', file = ''] = process.argv.slice(2);
  const adminToken = readFileSync(tokenFile, 'utf8').trim();
  const isNew = await ensureGrafanaToken({ url, org, adminToken, file });
  process.stdout.write(`${isNew ? 'made' : 'kept'} ${file}\n`);
}
