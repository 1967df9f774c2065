/** What the route files share, built once by server.ts. */
import type { Principal } from './access.ts';
import { clusterUnknown } from './access.ts';
import type { Authentication } from './authentication.ts';
import type { HttpDeps } from './deps.ts';
import type { LoginDelay } from './login-delay.ts';
import type { KeyIndex } from './paging.ts';
import type { Passwords } from './passwords.ts';
import type { TotpCheck } from './totp.ts';
import type { Queries } from './queries.ts';
import type { GuestRecord, NodeRecord } from '../state/fleet.ts';
import type { AccountStore, Change } from '../store/sql/accounts.ts';
import type { SessionStore, TokenStore } from '../store/sql/sessions.ts';

export type SetupToken = {
  current(): string | null;
  spend(): Promise<void>;
};

export type Context = HttpDeps & {
  accounts: AccountStore;
  sessions: SessionStore;
  tokens: TokenStore;
  authentication: Authentication;
  passwords: Passwords;
  checkTotp: TotpCheck;
  queries: Queries;
  setup: SetupToken;
  delays: { byAccount: LoginDelay; byAddress: LoginDelay };
  nodeKeys: KeyIndex<NodeRecord>;
  guestKeys: KeyIndex<GuestRecord>;
};

export const changeBy = (context: Pick<Context, 'clock'>, principal: Principal): Change => ({
  actor: principal.actor,
  nowMs: context.clock.wallMs(),
});

/**
 * A cluster named in a query must exist, or a typing error would look like an empty cluster. One
 * that was just created may not be in the fleet yet, hence the second look into SQL.
 */
export async function requireKnownCluster(
  context: Pick<Context, 'fleet' | 'queries'>,
  cluster: string | undefined,
): Promise<void> {
  if (cluster === undefined || context.fleet().clusters.has(cluster)) return;
  if (await context.queries.clusterExists(cluster)) return;
  throw clusterUnknown(cluster, 'cluster');
}
