import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, startMosquitto } from '../../support/servers.ts';
import { simulateCommand, simulateProfile } from './run.ts';

type Started = Awaited<ReturnType<typeof startMosquitto>>;

let folder = '';
let plain: Started;
let wsPort = 0;
let secure: Started;

const openssl = (...args: string[]): void =>
  void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });

/** A CA of our own, a server certificate for localhost and one for clients. */
function makeCertificates(): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test ca');
  for (const name of ['server', 'client']) {
    openssl(
      'req',
      '-x509',
      ...key,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-subj',
      `/CN=${name}`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-addext',
      'subjectAltName=DNS:localhost',
      '-addext',
      'basicConstraints=critical,CA:FALSE',
    );
  }
}
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kr-certificates-'));
  makeCertificates();
  wsPort = await freePort();
  plain = await startMosquitto([
    'allow_anonymous true',
    `listener ${wsPort} 127.0.0.1`,
    'protocol websockets',
  ]);
  const files = ['ca.pem', 'server.pem', 'server.key'] as const;
  secure = await startMosquitto(
    [
      'cafile %FOLDER%/ca.pem',
      'certfile %FOLDER%/server.pem',
      'keyfile %FOLDER%/server.key',
      'require_certificate true',
      'allow_anonymous true',
    ],
    Object.fromEntries(files.map((name) => [name, read(name)])),
  );
});
afterAll(async () => {
  await plain?.stop();
  await secure?.stop();
  await rm(folder, { recursive: true, force: true });
});

const profile = (more = ''): string =>
  [
    'guests: 2',
    'nodesPerCluster: 4',
    'stages:',
    '  - {nodes: 6, interval: 100ms, for: 3s}',
    '  - {nodes: 10, interval: 50ms, for: 4s, ramp: 1s}',
    more,
  ].join('\n');
const onlyThe = (url: string): string[] => ['--broker', url, '--broker-only'];

describe('a load test of a bare broker', () => {
  it.each([['mqtt'], ['ws']])(
    'over %s finds every message again at its own subscriber',
    async (scheme) => {
      const port = scheme === 'ws' ? wsPort : plain.port;
      const { report, exitCode } = await simulateProfile(
        profile(
          'qos: 1\nfaults: {duplicates: 0.2, malformed: 0.2}\nslo: [lost==0, unaccounted==0]',
        ),
        onlyThe(`${scheme}://127.0.0.1:${port}`),
      );
      expect(report.brokenPromises.filter((why) => !why.includes('invalid'))).toEqual([]);
      const { accounts, faults, stages } = report;
      if (!accounts) throw new Error('there are no accounts');
      expect(accounts.stored).toBe(report.samples.taken);
      expect(accounts.duplicates).toBe(faults.duplicates);
      expect(accounts.rejectedBy).toEqual(faults.malformed);
      expect(accounts.rejected).toBeGreaterThan(0);
      expect(accounts.sent).toBe(accounts.stored + accounts.duplicates + accounts.rejected);
      expect(report.publishToStateMs.p99).toBeGreaterThan(0);
      expect(stages.map(({ nodes }) => nodes)).toEqual([6, 10]);
      expect(stages[1]?.sentPerSecond).toBeGreaterThan(stages[0]?.sentPerSecond ?? Infinity);
      expect(exitCode).toBe(report.isValid ? 0 : 99);
    },
  );

  it('puts down to the link what went down with it, and nothing else', async () => {
    const { report } = await simulateProfile(
      profile(
        'faults:\n  droppedLinks: {ratio: 0.5, every: 1s}\n  halfOpen: {ratio: 0.5, every: 2s, for: 1s}',
      ),
      onlyThe(plain.url),
    );
    expect(report.faults.droppedLinks).toBeGreaterThan(0);
    expect(report.faults.brokenLinks).toBeGreaterThan(0);
    const { accounts, samples } = report;
    if (!accounts) throw new Error('there are no accounts');
    expect(accounts.unaccounted).toBe(0);
    expect(samples.taken - accounts.stored).toBe(accounts.dropped.link + samples.dropped);
  });

  it('signs in with a client certificate where the broker asks for one, and believes one CA', async () => {
    const url = `mqtts://localhost:${secure.port}`;
    const own = [
      '--broker-cert',
      join(folder, 'client.pem'),
      '--broker-key',
      join(folder, 'client.key'),
    ];
    const text = 'stages: [{nodes: 2, interval: 100ms, for: 1s}]\nslo: [lost==0]';
    const byFile = ['--broker-ca', join(folder, 'ca.pem')];
    const first = await simulateProfile(text, [...onlyThe(url), ...own, ...byFile]);
    expect(first.report.samples.lost).toBe(0);
    expect(first.report.accounts?.stored).toBeGreaterThan(0);
    const bare = await simulateCommand(['--minutes', '0.05', ...onlyThe(url), ...byFile]);
    expect(bare.exitCode).toBe(1);
    expect(bare.errors).toMatch(/got nowhere \(.*certificate required\); check --broker-user/);
  });
});
