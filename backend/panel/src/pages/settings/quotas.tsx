/**
 * Quotas: what one may still make, and, for administrators of everything, every limit with what is
 * taken of it. The server holds them; a change is merged into what it has at that moment.
 */
import type { Amount, Limit, Quotas as AllLimits } from '../../../../act/quota.ts';
import type { UserView } from '../../../../http/routes/users.ts';
import type { ClusterView } from '../../../../http/views.ts';
import { call, get, type Page } from '../../api.ts';
import { ask, Field } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { gibibyte, gibibytes, Taken } from '../../parts/quota.tsx';
import { Table } from '../../parts/table.tsx';
import { useQuery } from '../../query.ts';
import type { OwnQuota } from '../../../../http/routes/quotas.ts';
import { isAdmin, me } from '../../session.ts';

type Standing = {
  quotas: AllLimits;
  taken: { global: Amount; clusters: Record<string, Amount>; accounts: Record<string, Amount> };
};

const unlimited: Limit = { cpuCount: null, memoryBytes: null };
const nothing: Amount = { cpuCount: 0, memoryBytes: 0 };

type Scope = {
  key: string;
  name: string;
  says: string;
  limit: Limit;
  /** null: it is a rule for each, so nothing is taken of it as a whole. */
  taken: Amount | null;
  isSet: boolean;
  /** null where there is nothing to fall back to. */
  without: string | null;
  changed: (quotas: AllLimits, limit: Limit | null) => AllLimits;
};

function put(
  limits: Record<string, Limit>,
  key: string,
  limit: Limit | null,
): Record<string, Limit> {
  const { [key]: _before, ...others } = limits;
  return limit === null ? others : { ...others, [key]: limit };
}

const ofCluster = (id: string, { quotas, taken }: Standing): Scope => ({
  key: `cluster/${id}`,
  name: id,
  says: 'cluster',
  limit: quotas.clusters[id] ?? unlimited,
  taken: taken.clusters[id] ?? nothing,
  isSet: quotas.clusters[id] !== undefined,
  without: 'no limit of its own',
  changed: (now, limit) => ({ ...now, clusters: put(now.clusters, id, limit) }),
});

const ofAccount = ({ id, username }: UserView, { quotas, taken }: Standing): Scope => ({
  key: `account/${id}`,
  name: username,
  says: quotas.accounts[id] ? 'account, of what it made' : 'account, as each on LXD',
  limit: quotas.accounts[id] ?? unlimited,
  taken: taken.accounts[id] ?? nothing,
  isSet: quotas.accounts[id] !== undefined,
  without: 'what each account may make on LXD',
  changed: (now, limit) => ({ ...now, accounts: put(now.accounts, id, limit) }),
});

const scopesOf = (
  standing: Standing,
  clusters: readonly ClusterView[],
  users: readonly UserView[],
): Scope[] => [
  {
    key: 'global',
    name: 'Everything',
    says: 'all clusters together',
    limit: standing.quotas.global,
    taken: standing.taken.global,
    isSet: true,
    without: null,
    changed: (now, limit) => ({ ...now, global: limit ?? unlimited }),
  },
  ...clusters.map(({ id }) => ofCluster(id, standing)),
  {
    key: 'each',
    name: 'Each account on LXD',
    says: 'where it has no limit of its own',
    limit: standing.quotas.perAccountOnLxd,
    taken: null,
    isSet: true,
    without: null,
    changed: (now, limit) => ({ ...now, perAccountOnLxd: limit ?? unlimited }),
  },
  ...users.map((user) => ofAccount(user, standing)),
];

const valueOf = (text = ''): number | null => (text.trim() === '' ? null : Number(text));

function askLimit(scope: Scope, done: () => void): void {
  const { limit, name, isSet, without } = scope;
  ask({
    title: `Limit of ${name}`,
    confirm: 'Keep',
    body: (
      <>
        <p class="faint">
          Holds for creating and scaling, by people and the engine alike. What is over it already
          stays as it is and may only shrink.
        </p>
        <Field label="Virtual cpus" hint="Empty: no limit.">
          <input
            name="cpuCount"
            type="number"
            min={0}
            step={1}
            defaultValue={limit.cpuCount ?? ''}
          />
        </Field>
        <Field label="Memory, GiB" hint="Empty: no limit.">
          <input
            name="memory"
            type="number"
            min={0}
            step="any"
            defaultValue={limit.memoryBytes === null ? '' : limit.memoryBytes / gibibyte}
          />
        </Field>
        {isSet && without !== null && (
          <label class="check">
            <input name="isGone" type="checkbox" /> Take it away: then {without}
          </label>
        )}
      </>
    ),
    run: async ({ cpuCount, memory, isGone }) => {
      const memoryGibibytes = valueOf(memory);
      const wanted: Limit = {
        cpuCount: valueOf(cpuCount),
        memoryBytes: memoryGibibytes === null ? null : Math.round(memoryGibibytes * gibibyte),
      };
      const { quotas } = await get<Standing>('quotas');
      await call('PUT', 'quotas', { body: scope.changed(quotas, isGone === 'on' ? null : wanted) });
      toast(`The limit of ${name} is kept.`, { kind: 'good' });
      done();
    },
  });
}

const Limits = ({ scopes, reload }: { scopes: readonly Scope[]; reload: () => void }) => (
  <Table head={['Of', 'Cpus', 'Memory', '']}>
    {scopes.map((scope) => (
      <tr key={scope.key}>
        <th scope="row">
          {scope.name} <span class="faint">{scope.says}</span>
        </th>
        <td>
          <Taken taken={scope.taken?.cpuCount ?? null} max={scope.limit.cpuCount} textOf={String} />
        </td>
        <td>
          <Taken
            taken={scope.taken?.memoryBytes ?? null}
            max={scope.limit.memoryBytes}
            textOf={gibibytes}
          />
        </td>
        <td class="number">
          <button
            type="button"
            class="quiet small"
            aria-label={`Change the limit of ${scope.name}`}
            onClick={() => askLimit(scope, reload)}
          >
            Change
          </button>
        </td>
      </tr>
    ))}
  </Table>
);

function Mine() {
  const own = useQuery<OwnQuota>('quotas/mine', { everyMs: 15_000 });
  return (
    <section aria-label="What you may make">
      <h2>What you may make</h2>
      <Answer of={own} what="your quota">
        {({ limit, limitOnLxd, taken, takenOnLxd }) => (
          <div class="card pad narrow">
            <p>
              {limit
                ? 'Your account has a limit of its own, over all clusters.'
                : 'On LXD as every account; elsewhere there is no limit of your own.'}
            </p>
            <dl class="facts">
              <div>
                <dt>virtual cpus</dt>
                <dd>
                  <Taken
                    taken={(limit ? taken : takenOnLxd).cpuCount}
                    max={(limit ?? limitOnLxd).cpuCount}
                    textOf={String}
                  />
                </dd>
              </div>
              <div>
                <dt>memory</dt>
                <dd>
                  <Taken
                    taken={(limit ? taken : takenOnLxd).memoryBytes}
                    max={(limit ?? limitOnLxd).memoryBytes}
                    textOf={gibibytes}
                  />
                </dd>
              </div>
            </dl>
          </div>
        )}
      </Answer>
    </section>
  );
}

function All() {
  const standing = useQuery<Standing>('quotas', { everyMs: 15_000 });
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=1000');
  const users = useQuery<Page<UserView>>('users?limit=500');
  return (
    <section aria-label="All limits">
      <h2>All limits</h2>
      <Answer of={standing} what="limits">
        {(data) => (
          <Answer of={clusters} what="clusters">
            {({ items }) => (
              <Answer of={users} what="accounts">
                {({ items: accounts }) => (
                  <Limits scopes={scopesOf(data, items, accounts)} reload={standing.reload} />
                )}
              </Answer>
            )}
          </Answer>
        )}
      </Answer>
    </section>
  );
}

export const Quotas = () => (
  <>
    <Mine />
    {isAdmin.value && me.value?.clusters === null && <All />}
  </>
);
