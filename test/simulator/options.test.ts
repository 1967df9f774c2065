import { describe, expect, it } from 'vitest';
import { parseOptions } from '../../simulator/options.ts';

describe('options of simulate', () => {
  it('have defaults that make a small steady run', () => {
    const parsed = parseOptions({});
    expect(parsed).toMatchObject({
      ok: true,
      options: { nodes: 16, guests: 20, interval: 5, seed: 42, scenario: 'steady', minutes: 5 },
    });
  });

  it('come as text from a command line', () => {
    const parsed = parseOptions({ nodes: '2048', interval: '0.5', slo: 'lost==0', auto: true });
    expect(parsed).toMatchObject({
      ok: true,
      options: { nodes: 2048, interval: 0.5, auto: true, slo: [{ figure: 'lost', value: 0 }] },
    });
  });

  it.each([
    [{ nodes: '0' }, '--nodes: use a whole number from 1 to 16384'],
    [{ nodes: 'many' }, '--nodes: use a whole number from 1 to 16384'],
    [{ nodes: '1.5' }, '--nodes: use a whole number from 1 to 16384'],
    [{ nodesPerCluster: '1000' }, '--nodes-per-cluster: use a whole number from 1 to 999'],
    [{ nodes: '4000', nodesPerCluster: '2' }, '--nodes-per-cluster: make at most 999 clusters'],
    [{ guests: '501' }, '--guests: use a whole number from 0 to 500'],
    [{ interval: '0.1' }, '--interval: use a number from 0.25 to 300'],
    [{ seed: '-1' }, '--seed: use a whole number from 0 to 4294967295'],
    [{ scenario: 'panic' }, '--scenario: use one of steady, hot-spot, node-crash, flapping'],
    [{ minutes: '0' }, '--minutes: use a number from 0.05 to 10080'],
    [{ slo: 'p99<1h' }, "--slo: p99 is not measured in 'h': use ms or s"],
    [{ commands: '1e9' }, '--commands: use a whole number from 0 to 100000'],
    [{ clusterPrefix: 'Sim_1' }, '--cluster-prefix: use 1 to 51 lower-case letters'],
    [{ timeScale: '0.5' }, '--time-scale: use a number from 1 to 3600'],
    [{ journalDir: '' }, '--journal-dir: name a folder'],
    [{ speed: '9' }, '--speed: no such option'],
    [{ profile: 'p.yaml', interval: '1' }, '--interval: stands in the profile; change it there'],
    [{ brokerOnly: true }, '--broker-only: name the broker with --broker mqtt://host:1883'],
    [{ broker: 'tcp://host:1' }, '--broker: use mqtt://, mqtts://, ws:// or wss://'],
    [{ brokerCert: 'c.pem' }, '--broker-cert: needs --broker-key beside it'],
    [{ brokerUser: 'load' }, '--broker-user: goes with --broker-only'],
    [{ brokerCa: 'ca.pem', brokerFingerprint: 'ab'.repeat(32) }, '--broker-ca: use it or'],
    [{ brokerFingerprint: 'ab:cd' }, '--broker-fingerprint: write the SHA-256 of the CA'],
    [{ shard: '3/2' }, '--shard: use 1/2 to 64/64'],
    [{ findKnee: true, shard: '1/2' }, '--find-knee: one simulator looks for a knee'],
  ])('name what is wrong with %j and the way out', (raw, problem) => {
    expect(parseOptions(raw)).toEqual({
      ok: false,
      problems: [expect.stringContaining(problem)],
    });
  });

  it('list every problem at once', () => {
    const parsed = parseOptions({ nodes: '0', guests: '-1', slo: '?' });
    expect(parsed.ok ? [] : parsed.problems.map((problem) => problem.split(':')[0])).toEqual([
      '--nodes',
      '--guests',
      '--slo',
    ]);
  });
});
