/**
 * Looks whether the API of a Proxmox VE cluster can be used, and names each thing that is wrong
 * with the very line that mends it. It asks only; nothing is changed anywhere.
 */
import { createHash } from 'node:crypto';
import { connect } from 'node:tls';
import { z } from 'zod';
import type { Problem } from '../../../broker/contract/environment.ts';
import { ClusterStatus } from '../proxmox/answers.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import { readPveConfig } from './config.ts';
import { type ApiEndpoint, createPveApi, type PveApi, PveApiError } from './client.ts';

export type Finding = {
  /** What was looked at. */
  check: 'settings' | 'reachability' | 'fingerprint' | 'token' | 'privileges' | 'cluster';
  /** `note`: it works, with less. */
  state: 'fine' | 'note' | 'wrong';
  subject: string;
  detail: string;
  /** Lines to type, on a member of the cluster unless they say otherwise. */
  fix: readonly string[];
};

export type Examination = { isFine: boolean; findings: Finding[] };

const fine = (check: Finding['check'], subject: string, detail: string): Finding => ({
  check,
  state: 'fine',
  subject,
  detail,
  fix: [],
});

/** The lines of a set-up from nothing, in docs/proxmox.md too. */
const role = 'Kernreaktor';

type Need = { privilege: string; path: string; what: string };
const needs: readonly Need[] = [
  { privilege: 'Sys.Audit', path: '/', what: 'votes, HA, options, nodes and tasks' },
  { privilege: 'Sys.Syslog', path: '/nodes', what: 'the boot of a node, which proves a wake' },
  { privilege: 'Sys.PowerMgmt', path: '/nodes', what: 'sleep and wake nodes' },
  { privilege: 'Datastore.Audit', path: '/storage', what: 'where a guest could go' },
  { privilege: 'VM.Audit', path: '/vms', what: 'guests' },
  { privilege: 'VM.Migrate', path: '/vms', what: 'move guests, and ask whether one can move' },
  { privilege: 'VM.PowerMgmt', path: '/vms', what: 'start, stop and restart guests' },
  { privilege: 'VM.Config.CPU', path: '/vms', what: 'scale the cpus of guests' },
  { privilege: 'VM.Config.Memory', path: '/vms', what: 'scale the memory of guests' },
];

const userOf = (tokenId: string): string => tokenId.split('!')[0] ?? '';
const nameOf = (tokenId: string): string => tokenId.split('!')[1] ?? '';

/** Both must have it: a token never has more than its user. */
const grantLines = (tokenId: string, path: string): string[] => [
  `pveum acl modify ${path} --users '${userOf(tokenId)}' --roles ${role}`,
  `pveum acl modify ${path} --tokens '${tokenId}' --roles ${role}`,
];

const roleLine = (privileges: readonly string[]): string =>
  `pveum role modify ${role} --append 1 --privs '${privileges.join(' ')}' || pveum role add ${role} --privs '${privileges.join(' ')}'`;

const connectMs = 5_000;

/** The fingerprint that a member shows, whoever signed it. */
export const shownBy = (url: string): Promise<string | null> =>
  new Promise((resolve) => {
    const { hostname: host, port } = new URL(url);
    const to = { host, port: Number(port || 443), timeout: connectMs };
    const socket = connect({ ...to, rejectUnauthorized: false });
    const end = (found: string | null): void => {
      socket.destroy();
      resolve(found);
    };
    socket.once('timeout', () => end(null));
    socket.once('error', () => end(null));
    socket.once('secureConnect', () => {
      const { raw } = socket.getPeerCertificate();
      end(raw ? createHash('sha256').update(raw).digest('hex') : null);
    });
  });

const colons = (hex: string): string => hex.toUpperCase().match(/../g)?.join(':') ?? '';

const Version = z.object({ version: z.string() });

function ofCertificate(url: string, shown: string | null, { ca }: ApiEndpoint): Finding {
  const way =
    ca === null
      ? `KR_PVE_FINGERPRINT=${shown === null ? '<one per URL>' : colons(shown)}`
      : 'KR_PVE_CA_FILE=<a fresh copy of /etc/pve/pve-root-ca.pem>';
  return {
    check: 'fingerprint',
    state: 'wrong',
    subject: url,
    detail: `shows a certificate that is not believed: ${shown === null ? 'none' : colons(shown)}`,
    fix: [
      'pvenode cert info --output-format json   # on that member: is it this fingerprint?',
      `${way}   # if it is, in the settings of the daemon`,
    ],
  };
}

function ofToken(url: string, { tokenId }: ApiEndpoint, message: string): Finding {
  const [user, name] = [userOf(tokenId), nameOf(tokenId)];
  const isUnknown = message.includes('no such');
  return {
    check: 'token',
    state: 'wrong',
    subject: tokenId,
    detail: `${new URL(url).host} says: ${message}`,
    fix: isUnknown
      ? [
          `pveum user add '${user}'   # unless it exists`,
          `pveum user token add '${user}' ${name} --privsep 1   # prints the secret once`,
        ]
      : [
          `pveum user token remove '${user}' ${name}`,
          `pveum user token add '${user}' ${name} --privsep 1   # prints a new secret, once`,
        ],
  };
}

async function examineMember(
  api: PveApi,
  endpoint: ApiEndpoint,
  url: string,
): Promise<{ works: boolean; findings: Finding[] }> {
  const { host } = new URL(url);
  try {
    const { version } = await api.get(Version, '/version', { via: url });
    const reached = fine('reachability', url, `Proxmox VE ${version}`);
    if (Number(version.split('.')[0]) >= 8) return { works: true, findings: [reached] };
    const fix = ['upgrade it to Proxmox VE 8 or 9'];
    const detail = `Proxmox VE ${version} is older than 8`;
    return { works: true, findings: [{ ...reached, state: 'wrong', detail, fix }] };
  } catch (error) {
    if (!(error instanceof PveApiError)) throw error;
    const { code, message } = error;
    if (code === 'KR_PVE_CERTIFICATE') {
      return { works: false, findings: [ofCertificate(url, await shownBy(url), endpoint)] };
    }
    const reached = fine('reachability', url, 'answers');
    if (code === 'KR_PVE_TOKEN') {
      return { works: false, findings: [reached, ofToken(url, endpoint, message)] };
    }
    const isOther = code === 'KR_PVE_UNCLEAR' || code === 'KR_PVE_REFUSED';
    const detail = isOther ? `answers, but not as Proxmox VE: ${message}` : message;
    const fix = [
      `curl -k https://${host}/api2/json/version   # from the machine of the daemon`,
      "ss -tlnp 'sport = :8006'   # on that member: pveproxy listens there, usually on port 8006",
    ];
    const finding = { check: 'reachability' as const, state: 'wrong' as const, subject: url };
    return { works: false, findings: [{ ...finding, detail, fix }] };
  }
}

const Permissions = z.record(z.string(), z.record(z.string(), z.unknown()));

/** Rights on a path, or those that it inherits from the nearest path above that is listed. */
function rightsAt(permissions: z.infer<typeof Permissions>, path: string): ReadonlySet<string> {
  const own = permissions[path] ?? permissions['/'] ?? {};
  return new Set(Object.keys(own));
}

async function examineRights(api: PveApi, { tokenId }: ApiEndpoint): Promise<Finding[]> {
  const permissions = await api.get(Permissions, '/access/permissions');
  const missing = needs.filter(
    ({ privilege, path }) => !rightsAt(permissions, path).has(privilege),
  );
  if (missing.length === 0) return [fine('privileges', tokenId, `has all ${needs.length}`)];
  const privileges = missing.map(({ privilege }) => privilege);
  const isNew = missing.length === needs.length;
  return missing.map(({ privilege, path, what }) => ({
    check: 'privileges',
    state: 'wrong',
    subject: privilege,
    detail: `is missing on ${path}, and needed for: ${what}`,
    fix: [roleLine(isNew ? privileges : [privilege]), ...grantLines(tokenId, '/')],
  }));
}

async function examineCluster(
  api: PveApi,
  { urls }: ApiEndpoint,
  nodes: readonly string[] | null,
): Promise<Finding[]> {
  const status = await api.get(ClusterStatus, '/cluster/status');
  const members = status.nodes.map(({ name }) => nodeIdOf(name));
  const findings: Finding[] = [];
  const subject = status.cluster?.name ?? 'single node';
  if (status.cluster?.quorate === false) {
    const fix = ['pvecm status   # wake or repair members until it is quorate'];
    const detail = 'has no quorum, so nothing in it can be changed';
    findings.push({ check: 'cluster', state: 'wrong', subject, detail, fix });
  }
  const strangers = nodes?.filter((node) => !members.includes(node)) ?? [];
  if (strangers.length > 0) {
    const fix = [`enrol the daemon again with nodes ${JSON.stringify(members)}`];
    const detail = `${strangers.join(', ')} is no member; members are ${members.join(', ')}`;
    findings.push({ check: 'cluster', state: 'wrong', subject, detail, fix });
  }
  if (members.length > 2 && urls.length < 3) {
    const detail = `${urls.length} of ${members.length} members are named: a power-off needs two others to confirm it`;
    const fix = ['KR_PVE_URLS=https://<each member>:8006,...   # in the settings of the daemon'];
    findings.push({ check: 'cluster', state: 'note', subject, detail, fix });
  }
  if (findings.some(({ state }) => state === 'wrong')) return findings;
  return [fine('cluster', subject, `${members.length} members`), ...findings];
}

/** A check that could not be made for want of a right is told by `privileges`. */
async function unlessForbidden(findings: Promise<Finding[]>): Promise<Finding[]> {
  return findings.catch((error: unknown): Finding[] => {
    if (!(error instanceof PveApiError)) throw error;
    if (error.code === 'KR_PVE_RIGHTS') return [];
    const { message: detail } = error;
    return [{ check: 'cluster', state: 'wrong', subject: 'API', detail, fix: ['try again'] }];
  });
}

/** `nodes`: those that the daemon was enrolled for; null when that is not known. */
export async function examine(
  endpoint: ApiEndpoint,
  nodes: readonly string[] | null = null,
): Promise<Examination> {
  const api = createPveApi(endpoint);
  try {
    const members = await Promise.all(
      endpoint.urls.map((url) => examineMember(api, endpoint, url)),
    );
    const findings = members.flatMap((member) => member.findings);
    if (members.some(({ works }) => works)) {
      findings.push(fine('token', endpoint.tokenId, 'is accepted'));
      findings.push(...(await unlessForbidden(examineRights(api, endpoint))));
      findings.push(...(await unlessForbidden(examineCluster(api, endpoint, nodes))));
    }
    return { isFine: findings.every(({ state }) => state !== 'wrong'), findings };
  } finally {
    await api.close();
  }
}

/** What is wrong with the settings themselves; then nobody was asked. */
const settingsExamination = (problems: readonly Problem[]): Examination => ({
  isFine: false,
  findings: problems.map(({ field, hint }) => ({
    check: 'settings',
    state: 'wrong',
    subject: field,
    detail: 'is missing or wrong',
    fix: [hint],
  })),
});

/** By the settings of the daemon. */
export async function examination(config = readPveConfig()): Promise<Examination> {
  return config.ok ? examine(config.endpoint) : settingsExamination(config.problems);
}

const marks = { fine: 'ok   ', note: 'note ', wrong: 'WRONG' } as const;

export const examinationText = ({ isFine, findings }: Examination): string =>
  [
    ...findings.flatMap(({ check, state, subject, detail, fix }) => [
      `${marks[state]} ${check.padEnd(12)} ${subject}: ${detail}`,
      ...fix.map((line) => `        ${line}`),
    ]),
    isFine ? 'nothing is missing' : 'mend what is WRONG, then run this again',
  ].join('\n');
