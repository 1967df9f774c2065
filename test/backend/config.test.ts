import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkConfigFile, configSchema } from '../../backend/config-file.ts';
import { ConfigError, readSettings } from '../../backend/config.ts';

const problemsOf = (environment: Record<string, string>) => {
  try {
    readSettings(environment);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
};

describe('settings', () => {
  it('are complete without any variable', () => {
    const settings = readSettings({});
    expect(settings).toMatchObject({ KR_HTTP_HOST: '127.0.0.1', KR_SAMPLE_INTERVAL_MS: 5_000 });
    expect(settings.KR_SQL_URL).toBeUndefined();
  });

  it('take a value from a file, without its final newline', () => {
    const folder = mkdtempSync(join(tmpdir(), 'kr-config-'));
    try {
      const file = join(folder, 'url');
      writeFileSync(file, 'mariadb://kr:secret@db:3306/kernreaktor\n');
      expect(readSettings({ KR_SQL_URL_FILE: file }).KR_SQL_URL).toBe(
        'mariadb://kr:secret@db:3306/kernreaktor',
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('take further names for the certificate, and refuse what is none', () => {
    const { KR_TLS_NAMES } = readSettings({ KR_TLS_NAMES: 'kr.example, 192.0.2.7' });
    expect(KR_TLS_NAMES).toEqual(['kr.example', '192.0.2.7']);
    const [problem] = problemsOf({ KR_TLS_NAMES: 'https://kr.example' });
    expect(problem).toMatchObject({
      field: 'KR_TLS_NAMES',
      hint: expect.stringMatching(/host names/),
    });
  });

  it('treat an empty variable as unset', () => {
    expect(readSettings({ KR_SQL_URL: '' }).KR_SQL_URL).toBeUndefined();
  });

  it.each<[Record<string, string>, string, RegExp]>([
    [{ KR_HTTP_PORT: '70000' }, 'KR_HTTP_PORT', /65535/],
    [{ KR_HTTP_PORT: 'eighty' }, 'KR_HTTP_PORT', /port from 0/],
    [{ KR_MQTT_HOST: '0.0.0.0' }, 'KR_MQTT_HOST', /KR_TLS_MQTT_PORT/],
    [{ KR_SQL_URL: 'postgres://db/x' }, 'KR_SQL_URL', /mariadb:\/\/host/],
    [{ KR_INFLUX_URL: 'http://influx:8086' }, 'KR_INFLUX_TOKEN', /required with KR_INFLUX_URL/],
    [{ KR_MQTT_URL: 'mqtt://broker' }, 'KR_MQTT_PASSWORD', /required with KR_MQTT_URL/],
    [{ KR_SAMPLE_INTERVAL_MS: '10' }, 'KR_SAMPLE_INTERVAL_MS', /use at least 250/],
    [{ KR_LOG_LEVEL: 'loud' }, 'KR_LOG_LEVEL', /debug/],
    [{ KR_TRUSTED_PROXIES: '10.0.0.0/8,proxy' }, 'KR_TRUSTED_PROXIES', /CIDR/],
    [{ KR_TLS_CERT: '/etc/cert.pem' }, 'KR_TLS_CERT', /together/],
    [{ KR_HTPP_PORT: '80' }, 'KR_HTPP_PORT', /not a setting/],
    [{ KR_SQL_URL_FILE: '/nonexistent/url' }, 'KR_SQL_URL_FILE', /cannot be read/],
    [{ KR_SQL_URL: 'mariadb://a/b', KR_SQL_URL_FILE: '/etc/hostname' }, 'KR_SQL_URL', /not both/],
  ])('refuse %j naming the field and the way out', (environment, field, hint) => {
    const problem = problemsOf(environment).find((found) => found.field === field);
    expect(problem?.hint).toMatch(hint);
  });

  it('list every problem at once', () => {
    const fields = problemsOf({ KR_HTTP_PORT: '-1', KR_LOG_LEVEL: 'loud', KR_OOPS: '1' }).map(
      ({ field }) => field,
    );
    expect(fields.toSorted()).toEqual(['KR_HTTP_PORT', 'KR_LOG_LEVEL', 'KR_OOPS']);
  });
});

describe('kernreaktor.yaml', () => {
  it('gives clusters, autonomy and policies with their hash', () => {
    const checked = checkConfigFile(`
clusters:
  home: {policy: calm, autonomy: {guest.migrate: approve}}
policies:
  calm:
    relieve: {cpuRatio: {above: 0.9, clear: 0.8, forMs: 60000}}
`);
    if (!checked.ok) throw new Error(JSON.stringify(checked.problems));
    expect(checked.file.clusters['home']).toEqual({
      policy: 'calm',
      autonomy: { 'guest.migrate': 'approve' },
    });
    expect(checked.file.policies['calm']?.policy.relieve.cpuRatio.above).toBe(0.9);
    expect(checked.file.policies['calm']?.hash).toMatch(/^[0-9a-f]{64}$/);
  });

  it('may be empty', () => {
    expect(checkConfigFile('')).toMatchObject({ ok: true });
  });

  it.each<[string, number, number, string, RegExp]>([
    ['clusters: [home]', 1, 11, 'clusters', /is a list: write names with values/],
    ['clusters:\n  Home: {}', 2, 9, 'clusters.Home', /lower-case/],
    ['clusters:\n  server: {}', 2, 11, 'clusters.server', /reserved/],
    ['clusters:\n  home: {polcy: x}', 2, 17, 'clusters.home.polcy', /not a known key/],
    ['clusters:\n  home: {policy: gone}', 2, 18, 'clusters.home.policy', /names no policy/],
    [
      'clusters:\n  home: {autonomy: {guest.fly: auto}}',
      2,
      32,
      'clusters.home.autonomy.guest.fly',
      /./,
    ],
    [
      'clusters:\n  home: {autonomy: {guest.migrate: often}}',
      2,
      36,
      'clusters.home.autonomy.guest.migrate',
      /observe/,
    ],
    ['clusters:\n  home: {timeScale: 60}', 2, 21, 'clusters.home.timeScale', /simulated: true/],
    [
      'policies:\n  p: {relieve: {cpuRatio: {above: 85}}}',
      2,
      35,
      'policies.p.relieve.cpuRatio.above',
      /use at most 1$/,
    ],
    [
      'policies:\n  p: {relieve: {cpuRatio: {above: 0.5, clear: 0.7}}}',
      2,
      47,
      'policies.p.relieve.cpuRatio.clear',
      /below `above`/,
    ],
    [
      'policies:\n  p: {limits: {migrationsPerNode: 9}}',
      2,
      35,
      'policies.p.limits.migrationsPerNode',
      /<=4/,
    ],
    ['clusters: {home: {}, home: {}}', 1, 22, 'yaml', /unique/],
    ['clusters:\n\t- home', 2, 1, 'yaml', /[Tt]ab/],
    [
      'clusters: {home: {nodes: {pve1: {protected: maybe}}}}',
      1,
      45,
      'clusters.home.nodes.pve1.protected',
      /is a text: write true or false/,
    ],
  ])('refuses %j at line %d, column %d', (text, line, column, field, hint) => {
    const checked = checkConfigFile(text);
    if (checked.ok) throw new Error('accepted');
    expect(checked.problems[0]).toMatchObject({ line, column, field });
    expect(checked.problems[0]?.hint).toMatch(hint);
  });

  it('has a JSON Schema for editors', () => {
    expect(configSchema()).toMatchObject({ type: 'object', additionalProperties: false });
  });
});
