/** How much the engine may do by itself, per cluster and kind of command. */
import type { ClusterView } from '../../../../http/views.ts';
import { call, type Page, problemOf } from '../../api.ts';
import { Answer, toast } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';
import { useQuery } from '../../query.ts';
import { isAdmin } from '../../session.ts';

const levels = ['observe', 'recommend', 'approve', 'auto'] as const;
const kinds = ['default', 'guest.migrate', 'guest.scale', 'node.shutdown', 'node.wake'] as const;

const meaning: Record<string, string> = {
  observe: 'looks, and says nothing',
  recommend: 'says what it would do',
  approve: 'asks a person each time',
  auto: 'acts, within the guards',
};

async function set(cluster: string, kind: string, level: string): Promise<void> {
  try {
    await call('PATCH', `clusters/${cluster}`, { body: { autonomy: { [kind]: level } } });
    toast(`${cluster}: ${kind} is ${level} now.`, { kind: 'good' });
  } catch (error) {
    toast(problemOf(error).detail, { kind: 'bad' });
  }
}

function Row({ cluster, reload }: { cluster: ClusterView; reload: () => void }) {
  const fallback = cluster.autonomy['default'] ?? 'recommend';
  return (
    <tr>
      <th scope="row">
        {cluster.id} {cluster.simulated && <small class="tag">simulated</small>}
      </th>
      {kinds.map((kind) => (
        <td key={kind}>
          <select
            aria-label={`${cluster.id}, ${kind}`}
            disabled={!isAdmin.value}
            value={cluster.autonomy[kind] ?? fallback}
            onChange={(event) =>
              // The state follows with the next tick of the engine; asked again a little later.
              void set(cluster.id, kind, event.currentTarget.value).then(() =>
                setTimeout(reload, 1_500),
              )
            }
          >
            {levels.map((level) => (
              <option key={level} title={meaning[level]}>
                {level}
              </option>
            ))}
          </select>
        </td>
      ))}
    </tr>
  );
}

export function Autonomy() {
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=200', { everyMs: 15_000 });
  return (
    <section aria-label="Autonomy">
      <h2>What the engine may do by itself</h2>
      <p class="faint">
        {levels.map((level) => `${level}: ${meaning[level]}`).join(' · ')}. A real cluster’s auto
        means approve until the engine was watched for seven days.
      </p>
      <Answer of={clusters} what="clusters">
        {({ items }) => (
          <Table
            head={[
              'Cluster',
              ...kinds.map((kind) => (kind === 'default' ? 'everything else' : kind)),
            ]}
          >
            {items.map((cluster) => (
              <Row key={cluster.id} cluster={cluster} reload={clusters.reload} />
            ))}
          </Table>
        )}
      </Answer>
    </section>
  );
}
