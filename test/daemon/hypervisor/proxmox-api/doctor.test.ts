import { afterEach, describe, expect, it } from 'vitest';
import type { ApiEndpoint } from '../../../../daemon/hypervisor/proxmox-api/client.ts';
import {
  examinationText,
  examine,
  type Finding,
} from '../../../../daemon/hypervisor/proxmox-api/doctor.ts';
import type { FakeApi } from '../../../../simulator/proxmox/api/server.ts';
import { allPrivileges } from '../../../../simulator/proxmox/api/rights.ts';
import { crash } from '../../../../simulator/world/node-effects.ts';
import { apiOf, apiSecret, proxmoxRig, type Rig } from '../../../simulator/proxmox/rig.ts';
import { freePort } from '../../../support/servers.ts';
import { runProgram } from '../../../support/stack.ts';

const open: { rig: Rig; api: FakeApi }[] = [];
afterEach(async () => {
  for (const { rig, api } of open.splice(0)) {
    await api.close();
    await rig.close();
  }
});

async function bench() {
  const rig = await proxmoxRig();
  const { api, endpoint } = await apiOf(rig);
  open.push({ rig, api });
  const without = (...privileges: string[]): void => {
    const left = allPrivileges.filter((privilege) => !privileges.includes(privilege));
    api.tokens[0]?.rights.set('/', new Set<string>(left));
  };
  return { rig, api, endpoint, without };
}
type Bench = Awaited<ReturnType<typeof bench>>;

const wrong = (findings: readonly Finding[]): Finding[] =>
  findings.filter(({ state }) => state === 'wrong');

const acl = "pveum acl modify / --tokens 'kr@pve!kernreaktor' --roles Kernreaktor";

describe('doctor pve', () => {
  it('finds nothing wrong where nothing is, and asks only', async () => {
    const { rig, api, endpoint } = await bench();
    const found = await examine(endpoint, ['alpha', 'beta']);
    expect(found.isFine).toBe(true);
    expect(found.findings.map(({ check, state }) => `${check} ${state}`)).toEqual([
      'reachability fine',
      'reachability fine',
      'reachability fine',
      'token fine',
      'privileges fine',
      'cluster fine',
    ]);
    expect(api.requests.every(({ line }) => line.startsWith('GET '))).toBe(true);
    expect(await rig.effects()).toEqual([]);
  });

  type Mistake = {
    what: string;
    plant: (at: Bench) => Partial<ApiEndpoint> | Promise<Partial<ApiEndpoint>>;
    check: Finding['check'];
    subject: string | RegExp;
    fix: string | RegExp;
  };
  const nothing = {};
  const right = (privilege: string): Mistake => ({
    what: `the privilege ${privilege} is missing`,
    plant: ({ without }) => {
      without(privilege);
      return nothing;
    },
    check: 'privileges',
    subject: privilege,
    fix: `pveum role modify Kernreaktor --append 1 --privs '${privilege}'`,
  });
  const mistakes: Mistake[] = [
    {
      what: 'nothing listens on the port',
      plant: async () => ({ urls: [`https://127.0.0.1:${await freePort()}`], fingerprints: [] }),
      check: 'reachability',
      subject: /^https:\/\/127\.0\.0\.1:/,
      fix: /^curl -k https:\/\/127\.0\.0\.1:\d+\/api2\/json\/version/,
    },
    {
      what: 'one member of three is off',
      plant: ({ rig }) => {
        rig.live.change((world) => {
          const gamma = world.nodes.get('lab/gamma');
          if (gamma) crash(world, gamma);
        });
        return nothing;
      },
      check: 'reachability',
      subject: /^https:/,
      fix: /curl -k/,
    },
    {
      what: 'another certificate is pinned',
      plant: ({ endpoint }) => ({ fingerprints: endpoint.fingerprints.map(() => 'ab'.repeat(32)) }),
      check: 'fingerprint',
      subject: /^https:/,
      fix: /^KR_PVE_FINGERPRINT=([0-9A-F]{2}:){31}[0-9A-F]{2} /,
    },
    {
      what: 'nothing is pinned, and the certificate is of its own making',
      plant: () => ({ fingerprints: [] }),
      check: 'fingerprint',
      subject: /^https:/,
      fix: /^KR_PVE_FINGERPRINT=([0-9A-F]{2}:){31}[0-9A-F]{2} /,
    },
    {
      what: 'the authority is another one',
      plant: ({ api, endpoint }) => ({
        urls: endpoint.urls.slice(1, 2),
        fingerprints: [],
        ca: api.certificates['alpha']?.cert ?? '',
      }),
      check: 'fingerprint',
      subject: /^https:/,
      fix: /^KR_PVE_CA_FILE=.*pve-root-ca\.pem/,
    },
    {
      what: 'the secret is wrong',
      plant: () => ({ tokenSecret: apiSecret.replaceAll('0', '1') }),
      check: 'token',
      subject: 'kr@pve!kernreaktor',
      fix: "pveum user token remove 'kr@pve' kernreaktor",
    },
    {
      what: 'there is no such token',
      plant: () => ({ tokenId: 'kr@pve!other' }),
      check: 'token',
      subject: 'kr@pve!other',
      fix: /^pveum user token add 'kr@pve' other --privsep 1/,
    },
    right('Sys.Audit'),
    right('Sys.PowerMgmt'),
    right('Sys.Syslog'),
    right('VM.Audit'),
    right('VM.Migrate'),
    right('VM.PowerMgmt'),
    right('VM.Config.CPU'),
    right('VM.Config.Memory'),
    right('Datastore.Audit'),
    {
      what: 'the cluster has no quorum',
      plant: ({ rig }) => {
        rig.live.change((world) => {
          for (const name of ['beta', 'gamma']) {
            const node = world.nodes.get(`lab/${name}`);
            if (node) crash(world, node);
          }
        });
        return nothing;
      },
      check: 'cluster',
      subject: 'lab',
      fix: /^pvecm status/,
    },
  ];
  it.each(mistakes)('names what is wrong and its line when $what', async (mistake) => {
    const at = await bench();
    const planted = await mistake.plant(at);
    const found = await examine({ ...at.endpoint, ...planted });
    expect(found.isFine).toBe(false);
    const named = wrong(found.findings).filter(({ check }) => check === mistake.check);
    expect(named[0]?.subject).toMatch(mistake.subject);
    const lines = named.flatMap(({ fix }) => fix);
    const isLine = (line: string): boolean =>
      typeof mistake.fix === 'string' ? line.startsWith(mistake.fix) : mistake.fix.test(line);
    expect({ lines, isNamed: lines.some(isLine) }).toMatchObject({ isNamed: true });
    expect(examinationText(found)).toContain('WRONG');
  });

  it('gives one role with all that is missing to a token that has nothing', async () => {
    const { endpoint, without } = await bench();
    without(...allPrivileges);
    const { findings } = await examine(endpoint);
    expect(wrong(findings)).toHaveLength(allPrivileges.length);
    const [first] = wrong(findings);
    for (const privilege of allPrivileges) expect(first?.fix[0]).toContain(privilege);
    expect(first?.fix).toContain(acl);
  });

  it('names nodes that are no members, and a cluster of which too few URLs are known', async () => {
    const { endpoint } = await bench();
    const [url = ''] = endpoint.urls;
    const found = await examine({ ...endpoint, urls: [url] }, ['alpha', 'delta']);
    expect(wrong(found.findings)).toMatchObject([{ check: 'cluster' }]);
    expect(wrong(found.findings)[0]?.detail).toContain('delta is no member');
    expect(found.findings.find(({ state }) => state === 'note')?.fix[0]).toContain('KR_PVE_URLS=');
  });
});

describe('kernreaktor doctor pve', () => {
  const settingsOf = ({ urls, fingerprints }: ApiEndpoint, secret = apiSecret) => ({
    KR_PVE_URLS: urls.join(','),
    KR_PVE_FINGERPRINT: fingerprints.join(','),
    KR_PVE_TOKEN_ID: 'kr@pve!kernreaktor',
    KR_PVE_TOKEN_SECRET: secret,
  });

  it('ends with 0 when nothing is missing', async () => {
    const { endpoint } = await bench();
    const run = runProgram(['doctor', 'pve'], settingsOf(endpoint));
    expect(await run.exited).toBe(0);
    expect(run.stdout()).toContain('nothing is missing');
  });

  it('ends with 1 and one JSON object when a privilege is missing, and tells no secret', async () => {
    const { endpoint, without } = await bench();
    without('VM.Migrate');
    const run = runProgram(['doctor', 'pve', '--json'], settingsOf(endpoint));
    expect(await run.exited).toBe(1);
    const found = JSON.parse(run.stdout()) as { isFine: boolean; findings: Finding[] };
    expect(found.isFine).toBe(false);
    expect(wrong(found.findings)).toMatchObject([{ subject: 'VM.Migrate' }]);
    expect(run.stdout() + run.stderr()).not.toContain(apiSecret);
  });

  it('ends with 1 and names the settings that are missing', async () => {
    const run = runProgram(['doctor', 'pve', '--json'], {});
    expect(await run.exited).toBe(1);
    const { findings } = JSON.parse(run.stdout()) as { findings: Finding[] };
    expect(findings.map(({ subject }) => subject)).toEqual([
      'KR_PVE_URLS',
      'KR_PVE_TOKEN_ID',
      'KR_PVE_TOKEN_SECRET',
    ]);
  });
});
