import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installScript } from '../../../backend/http/install-script.ts';
import { version } from '../../../backend/version.ts';
import { bearer, type Harness, signInAll, startHarness, type Who } from './harness.ts';

const endpoint = {
  urls: ['https://pve1.lan:8006/'],
  tokenId: 'kr@pve!kernreaktor',
  tokenSecret: '0f0f0f0f-1111-2222-3333-444444444444',
};
const fingerprint = 'a'.repeat(64);

let h: Harness;
let who: Record<Who, string | null>;
beforeAll(async () => {
  h = await startHarness();
  who = await signInAll(h);
});
afterAll(() => h.stop());

const post = (url: string, payload: object) =>
  h.app.inject({ method: 'POST', url, payload, headers: bearer(who.admin) });

describe('a Proxmox cluster by its API', () => {
  it('is joined by one enrolment for all its nodes, with the endpoint that was looked at', async () => {
    const body = { ...endpoint, fingerprints: [fingerprint], cluster: 'lab' };
    const answer = await post('/api/v1/joining/proxmox', body);
    expect(answer.statusCode).toBe(201);
    expect(answer.json()).toEqual({ cluster: 'lab', nodes: ['alpha', 'beta'], guestCount: 3 });
    expect(h.joined).toEqual([
      {
        cluster: 'lab',
        nodes: ['alpha', 'beta'],
        endpoint: {
          ...endpoint,
          urls: ['https://pve1.lan:8006'],
          fingerprints: [fingerprint],
        },
        token: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ]);
    const row = await h.database.db
      .selectFrom('enrolments')
      .selectAll()
      .where('cluster', '=', 'lab')
      .executeTakeFirstOrThrow();
    expect(JSON.parse(row.nodes)).toEqual(['alpha', 'beta']);
  });

  it('is not joined, and makes no enrolment, where it cannot be read', async () => {
    const before = h.joined.length;
    const answer = await post('/api/v1/joining/proxmox', { ...endpoint, cluster: 'other' });
    expect(answer.json()).toMatchObject({ code: 'KR_BODY', field: 'tokenSecret' });
    expect(h.joined).toHaveLength(before);
    const rows = await h.database.db.selectFrom('enrolments').select('cluster').execute();
    expect(rows.map(({ cluster }) => cluster)).not.toContain('other');
  });

  it.each([
    ['urls', { urls: ['http://pve1.lan:8006'] }],
    ['tokenId', { tokenId: 'root' }],
    ['tokenSecret', { tokenSecret: 'secret' }],
    ['fingerprints', { fingerprints: [fingerprint, fingerprint] }],
  ])('names the field %s where that is wrong', async (field, wrong) => {
    const answer = await post('/api/v1/joining/proxmox/look', { ...endpoint, ...wrong });
    expect(answer.statusCode).toBe(400);
    expect(answer.json().field).toMatch(new RegExp(`^${field}`));
  });
});

describe('the line that a host pastes', () => {
  const file = `kernreaktor-daemon_${version}_amd64.deb`;
  const content = 'the package';

  it('has nothing to fetch while the server holds no package of its own version', async () => {
    const folder = join(h.dataDir, 'packages');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'kernreaktor-daemon_0.0.1_amd64.deb'), 'old');
    const ways = await h.app.inject({ url: '/api/v1/joining', headers: bearer(who.admin) });
    expect(ways.json()).toMatchObject({ architectures: [], scriptSha256: null, tls: null });
    expect((await h.app.inject({ url: '/install/daemon.sh' })).statusCode).toBe(404);
  });

  it('fetches a script with the sum it pins, and by it a package with the sum that names', async () => {
    writeFileSync(join(h.dataDir, 'packages', file), content);
    const ways = await h.app.inject({ url: '/api/v1/joining', headers: bearer(who.admin) });
    const script = await h.app.inject({ url: '/install/daemon.sh' });
    const sum = (text: string) => createHash('sha256').update(text).digest('hex');
    expect(ways.json().scriptSha256).toBe(sum(script.body));
    expect(script.body).toContain(`amd64) file='${file}' sum='${sum(content)}' ;;`);
  });

  /** Runs the script with twins of the tools it calls, as root would. */
  function runScript(sum: string, prepare: (folder: string) => void = () => undefined) {
    const folder = mkdtempSync(join(h.dataDir, 'host-'));
    prepare(folder);
    const bin = join(folder, 'bin');
    mkdirSync(bin, { recursive: true });
    const etc = join(folder, 'etc');
    const tool = (name: string, body: string): void => {
      writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(bin, name), 0o755);
    };
    tool('id', 'echo 0');
    tool('dpkg', 'echo amd64');
    tool('apt-get', `cat "$3" > ${folder}/installed`);
    tool('systemctl', `echo "$*" > ${folder}/started`);
    tool('curl', `echo "$2" > ${folder}/asked; printf '${content}' > "$4"`);
    const packages = [
      { name: file, architecture: 'amd64', version, bytes: content.length, sha256: sum },
    ];
    const script = installScript(packages)
      .replaceAll('/etc/kernreaktor', etc)
      .replaceAll(/\/var\/lib\/kernreaktor(?=\/)/g, join(folder, 'lib'));
    writeFileSync(join(folder, 'daemon.sh'), script);
    const run = spawnSync(
      '/bin/sh',
      [join(folder, 'daemon.sh'), 'https://kr:8443', 'mqtts://kr:8883', 'home', 'secret.pin'],
      { env: { PATH: `${bin}:${process.env['PATH']}` }, encoding: 'utf8' },
    );
    return { run, folder, etc };
  }

  it('installs, writes the settings for root alone, and starts both halves', () => {
    const sum = createHash('sha256').update(content).digest('hex');
    const { run, folder, etc } = runScript(sum);
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
    expect(readFileSync(join(folder, 'asked'), 'utf8').trim()).toBe(
      `https://kr:8443/packages/${file}`,
    );
    expect(readFileSync(join(folder, 'installed'), 'utf8')).toBe(content);
    expect(readFileSync(join(etc, 'daemon.env'), 'utf8')).toBe(
      'KR_MQTT_URL=mqtts://kr:8883\nKR_CLUSTER=home\nKR_ENROL_TOKEN=secret.pin\n',
    );
    const mode = execFileSync('stat', ['-c', '%a', join(etc, 'daemon.env')], { encoding: 'utf8' });
    expect(mode.trim()).toBe('600');
    expect(readFileSync(join(folder, 'started'), 'utf8')).toMatch(/kernreaktor-executor/);
  });

  const sumOfContent = createHash('sha256').update(content).digest('hex');

  it('keeps every other setting of a daemon.env that is there already', () => {
    const own =
      '# mine\nKR_LOG_LEVEL=debug\nKR_MQTT_URL=mqtts://old:8883\n  KR_CLUSTER=old\nKR_NODE=pve1';
    const { run, etc } = runScript(sumOfContent, (folder) => {
      mkdirSync(join(folder, 'etc'));
      writeFileSync(join(folder, 'etc', 'daemon.env'), own);
    });
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(etc, 'daemon.env'), 'utf8')).toBe(
      '# mine\nKR_LOG_LEVEL=debug\nKR_NODE=pve1\nKR_MQTT_URL=mqtts://kr:8883\nKR_CLUSTER=home\nKR_ENROL_TOKEN=secret.pin\n',
    );
  });

  it('changes nothing on a host that was let in before, and says how to let it in anew', () => {
    const { run, folder, etc } = runScript(sumOfContent, (made) => {
      mkdirSync(join(made, 'lib'));
      writeFileSync(join(made, 'lib', 'credential.json'), '{}');
    });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain(`mv ${folder}/lib/credential.json `);
    expect(() => readFileSync(join(folder, 'asked'))).toThrow(/ENOENT/);
    expect(() => readFileSync(join(etc, 'daemon.env'))).toThrow(/ENOENT/);
  });

  it('installs nothing that has another sum', () => {
    const { run, folder } = runScript('b'.repeat(64));
    expect(run.status).toBe(1);
    expect(run.stderr).toMatch(/not what it should be/);
    expect(() => readFileSync(join(folder, 'installed'))).toThrow(/ENOENT/);
  });
});
