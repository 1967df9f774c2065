/**
 * A Proxmox VE cluster by its API: address and token, one look, then it is watched. The token goes
 * to no certificate that nobody compared, and stays in no storage of this browser.
 */
import { useState } from 'preact/hooks';
import type { Look } from '../../../../http/routes/joining.ts';
import { call } from '../../api.ts';
import { counted } from '../../format.ts';
import { Field, type Values } from '../../parts/dialog.tsx';
import { ProblemNote, toast } from '../../parts/feedback.tsx';
import { useForm } from '../../parts/form.ts';

type Endpoint = { urls: string[]; tokenId: string; tokenSecret: string; fingerprints: string[] };

const tokenLines = `pveum role add Kernreaktor --privs 'Sys.Audit Sys.Syslog Sys.PowerMgmt Datastore.Audit VM.Audit VM.Migrate VM.PowerMgmt VM.Config.CPU VM.Config.Memory'
pveum user add 'kr@pve'
pveum user token add 'kr@pve' kernreaktor --privsep 1
pveum acl modify / --users 'kr@pve' --roles Kernreaktor
pveum acl modify / --tokens 'kr@pve!kernreaktor' --roles Kernreaktor`;

/** What was typed survives a reload, but for the secret. */
const storageKey = 'kernreaktor-begin-proxmox';
const kept = (): Partial<Values> => {
  try {
    return JSON.parse(sessionStorage.getItem(storageKey) ?? '{}') as Values;
  } catch {
    return {};
  }
};

/** `pve1.lan` is enough: protocol and port are always the same. */
function urlOf(text: string): string {
  const url = /^https?:\/\//.test(text) ? text : `https://${text}`;
  return /:\d+\/?$/.test(url) ? url : `${url.replace(/\/$/, '')}:8006`;
}

function Ask({ run }: { run: (endpoint: Endpoint) => Promise<void> }) {
  const before = kept();
  const { problem, isBusy, onSubmit } = useForm(
    async ({ urls = '', tokenId = '', tokenSecret = '' }) => {
      sessionStorage.setItem(storageKey, JSON.stringify({ urls, tokenId }));
      const listed = urls.split(/[\s,]+/).filter((url) => url !== '');
      await run({
        urls: listed.map(urlOf),
        tokenId: tokenId.trim(),
        tokenSecret: tokenSecret.trim(),
        fingerprints: [],
      });
    },
  );
  return (
    <form class="card pad narrow" onSubmit={onSubmit}>
      {problem && <ProblemNote problem={problem} />}
      <Field
        label="Address of a member"
        hint="pve1.lan is enough. With several, by comma, the next is asked when one is down."
      >
        <input
          name="urls"
          required
          defaultValue={before['urls']}
          placeholder="pve1.lan"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
        />
      </Field>
      <Field label="Token ID">
        <input
          name="tokenId"
          required
          defaultValue={before['tokenId']}
          placeholder="kr@pve!kernreaktor"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
        />
      </Field>
      <Field label="Secret" hint="Proxmox VE shows it once, when the token is made.">
        <input name="tokenSecret" type="password" required autocomplete="off" />
      </Field>
      <button type="submit" disabled={isBusy}>
        {isBusy ? 'Looking …' : 'Look'}
      </button>
      <details>
        <summary>How to make a token</summary>
        <p class="faint">In the shell of any member, as root; the third line prints the secret:</p>
        <pre class="mono">{tokenLines}</pre>
      </details>
    </form>
  );
}

const colons = (hex: string): string => hex.toUpperCase().match(/../g)?.join(':') ?? hex;

const Certificates = ({
  look,
  confirm,
  isBusy,
}: {
  look: Look;
  confirm: () => void;
  isBusy: boolean;
}) => (
  <div class="card pad narrow">
    <p>
      <strong>Is this your cluster?</strong> Proxmox VE signs its certificates itself, so compare
      them once. On a member, <code>pvenode cert info</code> shows them. Your token was not sent
      yet.
    </p>
    <dl class="facts">
      {look.certificates.map(({ url, fingerprint }) => (
        <div key={url}>
          <dt>{url}</dt>
          <dd class="mono">{colons(fingerprint)}</dd>
        </div>
      ))}
    </dl>
    <div class="buttons start">
      <button type="button" disabled={isBusy} onClick={confirm}>
        {isBusy ? 'Looking …' : 'They are the same'}
      </button>
    </div>
  </div>
);

const tones: Record<string, string> = { fine: 'good-text', note: 'warn-text', wrong: 'bad-text' };

const Findings = ({ look }: { look: Look }) => (
  <ul class="plain-list checks">
    {look.findings.map((finding) => (
      <li key={`${finding.check} ${finding.subject}`} data-state={finding.state}>
        <strong class={tones[finding.state]}>{finding.subject}</strong> {finding.detail}
        {finding.fix.length > 0 && <pre class="mono">{finding.fix.join('\n')}</pre>}
      </li>
    ))}
  </ul>
);

function Join({ endpoint, look }: { endpoint: Endpoint; look: Look }) {
  const { problem, isBusy, onSubmit } = useForm(async ({ cluster }) => {
    const { nodes } = await call<{ nodes: string[] }>('POST', 'joining/proxmox', {
      body: { ...endpoint, cluster },
    });
    sessionStorage.removeItem(storageKey);
    toast(`${counted(nodes.length, 'node')} of ${cluster} will be here in a moment.`, {
      kind: 'good',
    });
    window.location.hash = '/';
  });
  const { cluster } = look;
  if (!cluster) return null;
  return (
    <form class="card pad narrow" onSubmit={onSubmit}>
      <p class="lead">
        {counted(cluster.nodes.length, 'node')} and {counted(cluster.guestCount, 'guest')}:{' '}
        <span class="faint">{cluster.nodes.join(', ')}</span>
      </p>
      {problem && <ProblemNote problem={problem} />}
      <Field label="Name of the cluster here">
        <input
          name="cluster"
          required
          defaultValue={cluster.name}
          pattern="[a-z0-9][a-z0-9\-]{0,62}"
        />
      </Field>
      <button type="submit" disabled={isBusy}>
        {isBusy ? 'Letting it in …' : 'Watch this cluster'}
      </button>
    </form>
  );
}

export function AddProxmox() {
  const [endpoint, setEndpoint] = useState<Endpoint | null>(null);
  const [look, setLook] = useState<Look | null>(null);
  const [isBusy, setBusy] = useState(false);

  async function lookAt(asked: Endpoint): Promise<void> {
    setBusy(true);
    try {
      const found = await call<Look>('POST', 'joining/proxmox/look', { body: asked });
      setEndpoint(asked);
      setLook(found);
    } finally {
      setBusy(false);
    }
  }
  async function confirm(shown: Look): Promise<void> {
    if (!endpoint) return;
    const fingerprints = shown.certificates.map(({ fingerprint }) => fingerprint);
    await lookAt({ ...endpoint, fingerprints }).catch(() => setLook(null));
  }

  const isUnknown = look !== null && look.certificates.length > 0;
  return (
    <>
      {(!look || (!isUnknown && !look.cluster)) && <Ask run={lookAt} />}
      {isUnknown && <Certificates look={look} isBusy={isBusy} confirm={() => void confirm(look)} />}
      {look && endpoint && <Join endpoint={endpoint} look={look} />}
      {look && !isUnknown && (
        <section aria-label="What was found">
          <h2>What was found</h2>
          <Findings look={look} />
        </section>
      )}
    </>
  );
}
