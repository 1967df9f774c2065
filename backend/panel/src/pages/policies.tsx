/** Which policy each cluster follows, and all that there are. */
import type { PolicyView } from '../../../http/routes/policies.ts';
import type { ClusterView } from '../../../http/views.ts';
import type { Page } from '../api.ts';
import { moment } from '../format.ts';
import { Answer, Empty } from '../parts/feedback.tsx';
import { Table } from '../parts/table.tsx';
import { useQuery } from '../query.ts';
import { isAdmin, me } from '../session.ts';

export type Policies = { items: PolicyView[] };

export const mayWrite = (): boolean => isAdmin.value && me.value?.clusters === null;

/** A cluster without a choice follows `balance`. */
export const followedBy = (
  { policyHash }: ClusterView,
  policies: readonly PolicyView[],
): PolicyView | undefined =>
  policies.find(({ hash, name }) =>
    policyHash === null ? name === 'balance' : hash === policyHash,
  );

const Followed = ({ cluster, policies }: { cluster: ClusterView; policies: Policies }) => {
  const policy = followedBy(cluster, policies.items);
  if (!policy) return <>an earlier version, {cluster.policyHash?.slice(0, 12)}</>;
  return (
    <>
      <a href={`#/policies/${policy.name}`}>{policy.name}</a>
      {policy.version > 0 && <span class="faint"> version {policy.version}</span>}
      {cluster.policyHash === null && <span class="faint"> by default</span>}
    </>
  );
};

const ClusterTable = ({ clusters, of }: { clusters: readonly ClusterView[]; of: Policies }) => (
  <Table head={['Cluster', 'Follows', 'May act by itself']}>
    {clusters.map((cluster) => (
      <tr key={cluster.id}>
        <th scope="row">
          {cluster.id} {cluster.simulated && <small class="tag">simulated</small>}
        </th>
        <td>
          <Followed cluster={cluster} policies={of} />
        </td>
        <td>
          {Object.entries(cluster.autonomy)
            .map(([kind, level]) => `${kind === 'default' ? 'all' : kind}: ${level}`)
            .join(', ')}
        </td>
      </tr>
    ))}
  </Table>
);

const PolicyCard = ({ policy, followers }: { policy: PolicyView; followers: string[] }) => (
  <a class="card pad policy" href={`#/policies/${policy.name}`}>
    <strong>{policy.name}</strong>
    <small class="tag">{policy.source === 'panel' ? 'yours' : policy.source}</small>
    <p>{policy.about ?? `Version ${policy.version} by ${policy.author}`}</p>
    <p class="faint small-text">
      {followers.length > 0 ? `followed by ${followers.join(', ')}` : 'followed by nobody'}
      {policy.createdAt && `, since ${moment(policy.createdAt)}`}
    </p>
  </a>
);

export function PoliciesPage() {
  const policies = useQuery<Policies>('policies', { everyMs: 30_000 });
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=1000', { everyMs: 15_000 });
  const items = clusters.data?.items ?? [];
  return (
    <>
      <div class="heading">
        <h1>Policies</h1>
        <span class="grow" />
        {mayWrite() && (
          <a class="button strong" href="#/policies/new">
            New policy
          </a>
        )}
      </div>
      <p class="faint">
        When is a node hot, when is it idle, and how much may move. Whether the engine acts or only
        shows is set by the cluster’s <a href="#/settings/engine">autonomy</a>.
      </p>
      <Answer of={policies} what="policies">
        {(found) => (
          <>
            <section aria-label="Clusters">
              <h2>What clusters follow</h2>
              {clusters.data?.items.length === 0 ? (
                <Empty title="No cluster yet">
                  <p>
                    <a href="#/settings">Let a node in</a>, then choose what its cluster follows.
                  </p>
                </Empty>
              ) : (
                <Answer of={clusters} what="clusters">
                  {() => <ClusterTable clusters={items} of={found} />}
                </Answer>
              )}
            </section>
            <section aria-label="All policies">
              <h2>All policies</h2>
              <div class="cards policies">
                {found.items.map((policy) => (
                  <PolicyCard
                    key={policy.name}
                    policy={policy}
                    followers={items
                      .filter((cluster) => followedBy(cluster, found.items) === policy)
                      .map(({ id }) => id)}
                  />
                ))}
              </div>
            </section>
          </>
        )}
      </Answer>
    </>
  );
}
