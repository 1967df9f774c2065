/**
 * Who is asking: the unix socket's local administrator, or the bearer of a session or API token.
 * Every request asks the tables again, so a revocation holds from the next request on. There are
 * no cookies, hence nothing a foreign page could make a browser send along.
 */
import type { FastifyRequest } from 'fastify';
import type { Clock } from '../../broker/contract/ports.ts';
import type { AccountStore } from '../store/sql/accounts.ts';
import type { Credential, SessionStore } from '../store/sql/sessions.ts';
import { commonClusters, localPrincipal, lowerRole, type Principal } from './access.ts';
import { httpError } from './errors.ts';
import type { Passwords } from './passwords.ts';
import { hashOf } from './secrets.ts';

const secretPattern = /^[0-9a-f]{64}$/;

/** A password proven this recently need not be given again. */
export const freshProofMs = 5 * 60_000;

export const clustersOf = (stored: string | null): ReadonlySet<string> | null =>
  stored === null ? null : new Set(JSON.parse(stored) as string[]);

export function principalOf(credential: Credential): Principal {
  const { id, accountId, username, expiresAtMs, accountRole } = credential;
  const account = clustersOf(credential.accountClusters);
  const common = { accountId, username, credentialId: id, expiresAtMs };
  if (credential.kind === 'session') {
    return {
      ...common,
      kind: 'session',
      actor: `account:${username}`,
      role: accountRole,
      clusters: account,
      reauthenticatedAtMs: credential.reauthenticatedAtMs,
    };
  }
  // A token never outranks its owner, also when the owner was demoted after its creation.
  return {
    ...common,
    kind: 'token',
    actor: `token:${id}`,
    role: lowerRole(credential.tokenRole, accountRole),
    clusters: commonClusters(clustersOf(credential.tokenClusters), account),
    reauthenticatedAtMs: null,
  };
}

/** The secret of the Authorization header; undefined when it is not one of ours. */
export const bearerOf = ({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined =>
  /^Bearer ([0-9a-f]{64})$/i.exec(headers.authorization ?? '')?.[1]?.toLowerCase();

export type Authentication = {
  /** The principal of a bearer secret, undefined when it is worth nothing. */
  bearer(secret: string): Promise<Principal | undefined>;
  /** The principal of a request, undefined when it shows no credential. */
  request(request: FastifyRequest): Promise<Principal | undefined>;
  /** Throws unless the password was proven lately or is given now. */
  requireFreshProof(principal: Principal, password: string | undefined): Promise<void>;
};

type Deps = {
  accounts: AccountStore;
  sessions: SessionStore;
  passwords: Passwords;
  clock: Clock;
  isLocal: (request: FastifyRequest) => boolean;
};

export function createAuthentication({
  accounts,
  sessions,
  passwords,
  clock,
  isLocal,
}: Deps): Authentication {
  const bearer = async (secret: string): Promise<Principal | undefined> => {
    if (!secretPattern.test(secret)) return undefined;
    const credential = await sessions.credential(hashOf(secret), clock.wallMs());
    return credential && principalOf(credential);
  };
  return {
    bearer,
    async request(request) {
      if (request.headers.authorization === undefined) {
        return isLocal(request) ? localPrincipal : undefined;
      }
      const secret = bearerOf(request);
      const principal = secret === undefined ? undefined : await bearer(secret);
      if (principal) return principal;
      throw httpError('KR_UNAUTHENTICATED', 'This token is unknown, expired or revoked.', {
        field: 'Authorization',
      });
    },
    async requireFreshProof(principal, password) {
      if (principal.kind === 'local') return;
      if (principal.kind === 'token') {
        throw httpError('KR_REAUTHENTICATION', 'An API token cannot prove a password.', {
          field: 'Authorization',
          wayOut: 'Sign in as a person with POST /api/v1/session.',
        });
      }
      const provenAtMs = principal.reauthenticatedAtMs ?? 0;
      if (password === undefined && clock.wallMs() - provenAtMs < freshProofMs) return;
      const account = await accounts.find(principal.accountId ?? '');
      const isProven =
        password !== undefined &&
        (await passwords.verify(account?.password_hash ?? null, password));
      if (!isProven) {
        throw httpError('KR_REAUTHENTICATION', 'This needs a fresh proof of your password.', {
          field: 'password',
        });
      }
      await sessions.touch(principal.credentialId ?? '', clock.wallMs());
    },
  };
}
