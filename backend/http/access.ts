/**
 * Who may do what: one table from permission to the lowest role, and the cluster scope. Pure.
 *
 * A foreign cluster is indistinguishable from one that does not exist (404 KR_CLUSTER_UNKNOWN),
 * so that a scoped account cannot map the installation; lists simply leave it out. A role too low
 * is 403 KR_FORBIDDEN. What concerns the whole installation needs an account without a cluster
 * list (403 KR_SCOPE), since a scoped one could otherwise widen its own scope.
 */
import { httpError } from './errors.ts';

export const roles = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

export const permissions = {
  'session:own': { role: 'viewer', everyCluster: false },
  'tokens:own': { role: 'viewer', everyCluster: false },
  'fleet:read': { role: 'viewer', everyCluster: false },
  'telemetry:read': { role: 'viewer', everyCluster: false },
  'commands:read': { role: 'viewer', everyCluster: false },
  'decisions:read': { role: 'viewer', everyCluster: false },
  'metrics:read': { role: 'viewer', everyCluster: true },
  'audit:read': { role: 'operator', everyCluster: false },
  'commands:submit': { role: 'operator', everyCluster: false },
  'commands:cancel': { role: 'operator', everyCluster: false },
  'backtests:run': { role: 'operator', everyCluster: false },
  'commands:approve': { role: 'operator', everyCluster: false },
  'commands:resolve': { role: 'admin', everyCluster: false },
  /** Setting HOLD is the safe direction; releasing it asks for admin in the route. */
  'hold:cluster': { role: 'operator', everyCluster: false },
  'hold:all': { role: 'operator', everyCluster: true },
  'journal:confirm': { role: 'admin', everyCluster: false },
  'wake:prove': { role: 'admin', everyCluster: false },
  'house:answer': { role: 'admin', everyCluster: true },
  'clusters:change': { role: 'admin', everyCluster: false },
  'policies:write': { role: 'admin', everyCluster: true },
  'users:manage': { role: 'admin', everyCluster: true },
  'notifications:manage': { role: 'admin', everyCluster: true },
  'backups:manage': { role: 'admin', everyCluster: true },
  'enrolments:create': { role: 'admin', everyCluster: false },
  'quotas:manage': { role: 'admin', everyCluster: true },
  'hosts:join': { role: 'admin', everyCluster: true },
} as const satisfies Record<string, { role: Role; everyCluster: boolean }>;

export type Permission = keyof typeof permissions;
export type Access = 'public' | Permission;

export type Principal = {
  kind: 'session' | 'token' | 'local';
  /** As written to audit and commands: `account:anna`, `token:<id>`, `local`. */
  actor: string;
  accountId: string | null;
  username: string | null;
  /** Row of the session or token; null for the unix socket. */
  credentialId: string | null;
  role: Role;
  /** null = every cluster. */
  clusters: ReadonlySet<string> | null;
  /** Wall ms of the last proof of the password; null where there is none to ask for. */
  reauthenticatedAtMs: number | null;
  expiresAtMs: number | null;
};

/** Whoever can open the unix socket owns the data folder anyway. */
export const localPrincipal: Principal = {
  kind: 'local',
  actor: 'local',
  accountId: null,
  username: null,
  credentialId: null,
  role: 'admin',
  clusters: null,
  reauthenticatedAtMs: null,
  expiresAtMs: null,
};

export const hasRole = (has: Role, needed: Role): boolean =>
  roles.indexOf(has) >= roles.indexOf(needed);

export const lowerRole = (a: Role, b: Role): Role => (hasRole(a, b) ? b : a);

export type Verdict = 'allowed' | 'role' | 'scope';

export function may(principal: Principal, permission: Permission): Verdict {
  const needed = permissions[permission];
  if (!hasRole(principal.role, needed.role)) return 'role';
  if (needed.everyCluster && principal.clusters !== null) return 'scope';
  return 'allowed';
}

export const mayUseCluster = (principal: Principal, cluster: string): boolean =>
  principal.clusters === null || principal.clusters.has(cluster);

export function requireCluster(principal: Principal, cluster: string, field: string): void {
  if (mayUseCluster(principal, cluster)) return;
  throw clusterUnknown(cluster, field);
}

export const clusterUnknown = (cluster: string, field: string) =>
  httpError('KR_CLUSTER_UNKNOWN', `There is no cluster ${cluster}.`, { field });

export function requireRole(principal: Principal, role: Role, what: string): void {
  if (hasRole(principal.role, role)) return;
  throw httpError('KR_FORBIDDEN', `${what} needs the role ${role}; yours is ${principal.role}.`);
}

/** What two cluster lists have in common; null = every cluster. */
export function commonClusters(
  a: ReadonlySet<string> | null,
  b: ReadonlySet<string> | null,
): ReadonlySet<string> | null {
  if (a === null) return b;
  if (b === null) return a;
  return new Set([...a].filter((cluster) => b.has(cluster)));
}
