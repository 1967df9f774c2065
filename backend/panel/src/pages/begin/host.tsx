/**
 * A host by one pasted line: it names this server, the script's checksum and a token for one use.
 * The page waits until the host speaks, so that one sees at once whether it worked.
 */
import { useState } from 'preact/hooks';
import type { Ways } from '../../../../http/routes/joining.ts';
import type { ClusterView, NodeView } from '../../../../http/views.ts';
import { call, type Page } from '../../api.ts';
import { moment } from '../../format.ts';
import { nodes } from '../../live.ts';
import { Field } from '../../parts/dialog.tsx';
import { ProblemNote } from '../../parts/feedback.tsx';
import { State } from '../../parts/figures.tsx';
import { useForm } from '../../parts/form.ts';
import { useQuery } from '../../query.ts';
import { ShownOnce } from '../settings/shown-once.tsx';

type Enrolled = { cluster: string; node: string; token: string; expiresAt: string };

/** Who opened the page by a tunnel sees another name than other hosts do. */
const isLoopback = (name: string): boolean => /^(localhost|127\.|\[?::1)/.test(name);
const serverOf = ({ hostName }: Ways): string =>
  isLoopback(window.location.hostname) ? hostName : window.location.hostname;

function lineFor(ways: Ways, { cluster, token }: Enrolled): string | null {
  const { tls, scriptSha256 } = ways;
  if (!tls || scriptSha256 === null) return null;
  const host = serverOf(ways);
  const server = `https://${host}:${tls.httpPort}`;
  return [
    'f=$(mktemp)',
    `curl -fsSk ${server}/install/daemon.sh -o "$f"`,
    `echo "${scriptSha256}  $f" | sha256sum -c --quiet`,
    `sh "$f" ${server} mqtts://${host}:${tls.mqttPort} ${cluster} ${token}`,
  ].join(' && ');
}

const byHand = (ways: Ways, { cluster, token }: Enrolled): string =>
  `apt install ./kernreaktor-daemon_*.deb
cat >> /etc/kernreaktor/daemon.env <<'END'
KR_MQTT_URL=mqtts://${serverOf(ways)}:${ways.tls?.mqttPort ?? 8883}
KR_CLUSTER=${cluster}
KR_ENROL_TOKEN=${token}
END
chmod 600 /etc/kernreaktor/daemon.env
systemctl start kernreaktor-executor kernreaktor-agent`;

function Waiting({ cluster, node }: Enrolled) {
  const found = useQuery<NodeView>(`clusters/${cluster}/nodes/${node}`, { everyMs: 3_000 });
  const view = nodes.get(`${cluster}/${node}`)?.value ?? found.data;
  if (view?.state !== 'awake') {
    return (
      <p class="state-note" role="status">
        <span class="spinner" aria-hidden="true" /> Waiting for {node} …
      </p>
    );
  }
  return (
    <p class="card pad" role="status">
      <State state={view.state} /> <strong>{node}</strong> is here.{' '}
      <a href={`#/nodes/${cluster}/${node}`}>Look at it</a>
    </p>
  );
}

const Unreachable = () => (
  <div class="notice plain" role="note">
    <strong>Other hosts cannot reach this server yet.</strong> Set <code>KR_TLS_HOST=0.0.0.0</code>{' '}
    in its settings and start it again: it then listens with a certificate of its own on the ports
    8443 and 8883.
  </div>
);

function Ask({ run }: { run: (enrolled: Enrolled) => void }) {
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=1000');
  const { problem, isBusy, onSubmit } = useForm(async ({ cluster = '', node = '' }) => {
    const body = { cluster, node };
    const made = await call<{ token: string; expiresAt: string }>('POST', 'enrolments', { body });
    run({ ...made, cluster, node });
  });
  const real = (clusters.data?.items ?? []).filter(({ simulated }) => !simulated);
  return (
    <form class="card pad narrow" onSubmit={onSubmit}>
      {problem && <ProblemNote problem={problem} />}
      <Field label="Host name" hint="As the command hostname prints it there, in lower case">
        <input
          name="node"
          required
          pattern="[a-z0-9][a-z0-9\-]{0,62}"
          placeholder="pve1"
          autocomplete="off"
          autocapitalize="none"
        />
      </Field>
      <Field label="Cluster" hint="Hosts that share guests belong together; a new name is fine.">
        <input
          name="cluster"
          required
          defaultValue="home"
          list="real-clusters"
          pattern="[a-z0-9][a-z0-9\-]{0,62}"
          autocomplete="off"
        />
        <datalist id="real-clusters">
          {real.map(({ id }) => (
            <option key={id} value={id} />
          ))}
        </datalist>
      </Field>
      <button type="submit" disabled={isBusy}>
        Make its line
      </button>
    </form>
  );
}

export function AddHost({ ways }: { ways: Ways }) {
  const [enrolled, setEnrolled] = useState<Enrolled | null>(null);
  if (!enrolled) {
    return (
      <>
        {ways.tls === null && <Unreachable />}
        <Ask run={setEnrolled} />
      </>
    );
  }
  const line = lineFor(ways, enrolled);
  const until = `valid until ${moment(enrolled.expiresAt)}, for one use`;
  return (
    <>
      {ways.tls === null && <Unreachable />}
      <ShownOnce
        label={`On ${enrolled.node}, as root:`}
        hint={until}
        text={line ?? byHand(ways, enrolled)}
      />
      {ways.scriptSha256 === null && (
        <p class="faint">
          With a package laid into <code>packages</code> of the server’s data folder (
          <code>npm run package:daemon</code>) this is one line.
        </p>
      )}
      <Waiting {...enrolled} />
    </>
  );
}
