import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { localServer, type Server } from '../../../simulator/config.ts';
import { type Stack, startStack } from '../../support/stack.ts';
import { simulateCommand, simulateProfile } from './run.ts';

let stack: Stack;
let server: Server;
let secureUrl = '';
let pin = '';

beforeAll(async () => {
  stack = await startStack({
    KR_TLS_HOST: '127.0.0.1',
    KR_TLS_MQTT_PORT: '0',
    KR_TLS_HTTP_PORT: '0',
  });
  const folder = String(stack.settings['KR_DATA_DIR']);
  server = localServer(folder);
  secureUrl = /mqtts:\/\/127\.0\.0\.1:\d+/.exec(stack.run().stdout())?.[0] ?? '';
  const ca = new X509Certificate(readFileSync(join(folder, 'tls', 'ca.crt')));
  pin = createHash('sha256').update(ca.raw).digest('hex');
});
afterAll(() => stack?.remove());

const broken = (promises: readonly string[]): string[] =>
  promises.filter((why) => !why.startsWith('the run is invalid'));

describe('a load test of a whole server', () => {
  it('finds every message again while links break, stall and lie, over TLS with a pinned CA', async () => {
    const profile = [
      'guests: {min: 1, max: 3}',
      'nodesPerCluster: 4',
      'clusterPrefix: bad',
      'connectRate: 50',
      'stages:',
      '  - {nodes: 6, interval: 500ms, for: 4s}',
      '  - {nodes: 12, interval: 250ms, for: 6s, ramp: 2s}',
      'faults:',
      '  droppedLinks: {ratio: 0.3, every: 4s}',
      '  halfOpen: {ratio: 0.2, every: 3s, for: 2s}',
      '  slowReaders: {ratio: 0.2, every: 3s, for: 2s}',
      '  malformed: 0.1',
      '  duplicates: 0.1',
      'slo: [unaccounted==0]',
    ].join('\n');
    const own = ['--broker', secureUrl, '--broker-fingerprint', pin];
    const { report } = await simulateProfile(profile, own, server);
    expect(broken(report.brokenPromises)).toEqual([]);
    const { accounts, faults, samples } = report;
    if (!accounts) throw new Error('there are no accounts');
    const { sent, stored, duplicates, rejected, dropped } = accounts;
    expect(sent).toBe(stored + duplicates + rejected + dropped.link + dropped.ingest);
    expect(stored).toBeGreaterThan(50);
    expect(stored).toBeLessThanOrEqual(samples.taken);
    expect(rejected).toBeGreaterThan(0);
    expect(faults.brokenLinks).toBeGreaterThan(0);
    expect(report.connectedNodes).toBe(6);
    expect(report.stages.map(({ nodes }) => nodes)).toEqual([6, 12]);
    expect(samples.lost).toBe(0);
  }, 180_000);

  it('loses nothing on a good network, and asks for commands at the rate that was set', async () => {
    const profile = [
      'guests: 3',
      'nodesPerCluster: 3',
      'clusterPrefix: good',
      'aligned: true',
      'qos: 1',
      'stages: [{nodes: 6, interval: 500ms, for: 6s}]',
      'commands: {perMinute: 60, mix: {guest.scale: 1}}',
      'slo: [lost==0, unaccounted==0, refused==0]',
    ].join('\n');
    const { report } = await simulateProfile(profile, [], server);
    expect(broken(report.brokenPromises)).toEqual([]);
    expect(report.accounts).toMatchObject({ rejected: 0, unaccounted: 0 });
    expect(report.samples.stored).toBe(report.samples.taken);
    const { count = 0, refused = 0, skipped = 0 } = report.commands ?? {};
    expect(count + refused + skipped).toBeGreaterThan(3);
    expect(report.commands?.wrongEffects).toEqual([]);
  });

  it('leaves a machine alone that is not this one, unless its owner agrees', async () => {
    const elsewhere = ['--minutes', '0.05', '--broker', 'mqtts://192.0.2.1:8883'];
    expect(await simulateCommand(elsewhere, server)).toEqual({
      exitCode: 1,
      out: '',
      errors: '192.0.2.1:8883 is not this machine: add --i-may-load-this when you may load it\n',
    });
  });
});
