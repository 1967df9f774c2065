/** Which daemons were let in, letting another one in, and taking a credential away. */
import { useState } from 'preact/hooks';
import type { DaemonView } from '../../../../http/routes/daemons.ts';
import type { ClusterView } from '../../../../http/views.ts';
import { call, type Page, query } from '../../api.ts';
import { moment } from '../../format.ts';
import { ask, Field } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';
import { isAdmin } from '../../session.ts';
import { ShownOnce } from './shown-once.tsx';
import { Table } from '../../parts/table.tsx';

type Enrolled = { cluster: string; token: string; expiresAt: string };

const askEnrol = (clusters: readonly ClusterView[], done: (enrolled: Enrolled) => void): void =>
  ask({
    title: 'Let a node in',
    confirm: 'Make a token',
    body: (
      <>
        <p>
          The daemon on that host shows the token once and gets a credential of its own. It only
          observes until its local policy and this cluster both allow more.
        </p>
        <Field label="Cluster" hint="A new name makes a new cluster.">
          <input
            name="cluster"
            required
            list="clusters"
            pattern="[a-z0-9][a-z0-9\-]{0,62}"
            autocomplete="off"
          />
          <datalist id="clusters">
            {clusters
              .filter(({ simulated }) => !simulated)
              .map(({ id }) => (
                <option key={id} value={id} />
              ))}
          </datalist>
        </Field>
        <Field label="Node" hint="The host’s own name; on Proxmox VE as `hostname` prints it.">
          <input name="node" required pattern="[a-z0-9][a-z0-9\-]{0,62}" autocomplete="off" />
        </Field>
      </>
    ),
    run: async ({ cluster, node }) => {
      const body = { cluster, node };
      const made = await call<Omit<Enrolled, 'cluster'>>('POST', 'enrolments', { body });
      done({ ...made, cluster: cluster ?? '' });
    },
  });

const askRevoke = (cluster: string, daemon: string, done: () => void): void =>
  ask({
    title: `Shut ${daemon} out`,
    confirm: 'Take its credential away',
    isDangerous: true,
    body: (
      <p>
        Its connection ends at once and its nodes are no longer heard. What it has begun goes on to
        its end on the host. To let it in again it needs a new token.
      </p>
    ),
    run: async () => {
      await call('DELETE', `clusters/${cluster}/daemons/${daemon}`);
      toast(`${daemon} is shut out.`, { kind: 'good' });
      done();
    },
  });

function List({ cluster }: { cluster: string }) {
  const daemons = useQuery<{ items: DaemonView[] }>(`clusters/${cluster}/daemons`, {
    everyMs: 15_000,
  });
  return (
    <Answer of={daemons} what="daemons">
      {({ items }) => (
        <Table head={['Daemon', 'Speaks for', 'Let in', '']}>
          {items.slice(0, 200).map((daemon) => (
            <tr key={daemon.id}>
              <th scope="row">{daemon.id}</th>
              <td class="wrap">{daemon.nodes.slice(0, 8).join(', ')}</td>
              <td class="nowrap">{moment(daemon.enrolledAt)}</td>
              <td class="number">
                {daemon.revokedAt === null ? (
                  isAdmin.value && (
                    <button
                      type="button"
                      class="quiet small danger-text"
                      onClick={() => askRevoke(cluster, daemon.id, daemons.reload)}
                    >
                      Shut out
                    </button>
                  )
                ) : (
                  <span class="faint">shut out {moment(daemon.revokedAt)}</span>
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Answer>
  );
}

export function Daemons() {
  const clusters = useQuery<Page<ClusterView>>(`clusters?${query({ limit: 1_000 })}`);
  const [asked, setAsked] = useState<string | null>(null);
  const [enrolled, setEnrolled] = useState<Enrolled | null>(null);
  const items = clusters.data?.items ?? [];
  const cluster = asked ?? items[0]?.id;
  const server = window.location.hostname;
  return (
    <section aria-label="Nodes">
      <div class="heading">
        <h2>Nodes</h2>
        {items.length > 1 && (
          <select
            aria-label="Cluster"
            value={cluster}
            onChange={(event) => setAsked(event.currentTarget.value)}
          >
            {items.map(({ id }) => (
              <option key={id}>{id}</option>
            ))}
          </select>
        )}
        <span class="grow" />
        {isAdmin.value && (
          <button type="button" onClick={() => askEnrol(items, setEnrolled)}>
            Let a node in
          </button>
        )}
      </div>
      {enrolled && (
        <ShownOnce
          label="On the host, as root:"
          hint={`valid until ${moment(enrolled.expiresAt)}, for one use; with the daemon’s package installed`}
          text={`cat >> /etc/kernreaktor/daemon.env <<'END'
KR_MQTT_URL=mqtts://${server}:8883
KR_CLUSTER=${enrolled.cluster}
KR_ENROL_TOKEN=${enrolled.token}
END
chmod 600 /etc/kernreaktor/daemon.env
systemctl start kernreaktor-executor kernreaktor-agent`}
        />
      )}
      <Answer of={clusters} what="clusters">
        {() =>
          cluster === undefined ? (
            <p class="state-note">No cluster yet: it comes with its first node.</p>
          ) : (
            <List key={cluster} cluster={cluster} />
          )
        }
      </Answer>
    </section>
  );
}
