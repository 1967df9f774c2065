/**
 * One policy: its text, checked while somebody types; what it would change for a cluster; what it
 * would have done there; and then letting the cluster follow it. Shipped ones are read, not changed.
 */
import { type Signal, signal } from '@preact/signals';
import { useRef, useState } from 'preact/hooks';
import type { PolicyCheck, PolicyView } from '../../../../http/routes/policies.ts';
import type { ClusterView } from '../../../../http/views.ts';
import type { Page } from '../../api.ts';
import { counted } from '../../format.ts';
import { CodeEditor, type Mark, offsetOf } from '../../parts/code-editor.tsx';
import { Answer, ProblemNote } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';
import { useQuery } from '../../query.ts';
import { isAdmin, mayAct } from '../../session.ts';
import { followedBy, mayWrite, type Policies } from '../policies.tsx';
import { Backtest } from './backtest.tsx';
import { useCheck } from './draft.ts';
import { askEnable, askStore, type Differences, type Enabling, setTested } from './enabling.tsx';
import { Versions } from './versions.tsx';

const firstText = (base: string): string => `extends: ${base}
# Only what differs. For example:
# relieve:
#   cpuRatio: {above: 0.85, clear: 0.75, forMs: 300000}
`;

const Changes = ({ of }: { of: Differences }) => (
  <Table head={['Field', 'Now', 'Then']}>
    {of.map(({ field, before, after }) => (
      <tr key={field}>
        <th scope="row" class="mono">
          {field}
        </th>
        <td class="wrap mono diff-before">{before ?? 'nothing'}</td>
        <td class="wrap mono diff-after">{after ?? 'nothing'}</td>
      </tr>
    ))}
  </Table>
);

const Problems = ({ marks, go }: { marks: readonly Mark[]; go: (mark: Mark) => void }) => (
  <ul id="editor-problems" class="problems" aria-live="polite">
    {marks.map((mark) => (
      <li key={`${mark.line}:${mark.column}${mark.hint}`}>
        <button type="button" class="plain" onClick={() => go(mark)}>
          <span class="mono">
            {mark.line}:{mark.column}
          </span>{' '}
          <strong>{mark.field}</strong> {mark.hint}
        </button>
      </li>
    ))}
  </ul>
);

const goTo = (area: HTMLTextAreaElement | null, { line, column }: Mark): void => {
  if (!area) return;
  const at = offsetOf(area.value, line, column);
  area.focus();
  area.setSelectionRange(at, at);
};

const Status = ({ check }: { check: PolicyCheck | undefined }) => {
  if (!check) return <span class="faint">reading …</span>;
  const { length } = check.problems;
  return length === 0 ? (
    <span class="good-text">✓ no problem</span>
  ) : (
    <span class="bad-text">✕ {counted(length, 'problem')}</span>
  );
};

type Of = {
  policy: PolicyView | undefined;
  name: string;
  text: Signal<string>;
  clusters: readonly ClusterView[];
  policies: readonly PolicyView[];
  reload: () => void;
};

const ClusterChoice = ({
  clusters,
  value,
  set,
}: {
  clusters: readonly ClusterView[];
  value: string | undefined;
  set: (cluster: string) => void;
}) => (
  <label class="inline">
    for{' '}
    <select aria-label="Cluster" value={value} onChange={(event) => set(event.currentTarget.value)}>
      {clusters.map(({ id }) => (
        <option key={id}>{id}</option>
      ))}
    </select>
  </label>
);

function Desk({ policy, name, text, clusters, policies, reload }: Of) {
  const followers = clusters.filter((one) => followedBy(one, policies) === policy);
  const [chosen, setChosen] = useState<string>();
  const cluster = chosen ?? followers[0]?.id ?? clusters[0]?.id;
  const area = useRef<HTMLTextAreaElement>(null);
  const yaml = text.value;
  const { check, problem } = useCheck(yaml, cluster);
  const marks = check?.problems ?? [];
  const isFine = check?.problems.length === 0;
  const isShipped = policy?.source === 'shipped';
  const isStored = policy?.yaml === yaml;
  const isFollowed = isStored && followers.some(({ id }) => id === cluster);
  const enabling: Enabling = {
    name,
    isNew: policy === undefined,
    yaml,
    isStored,
    cluster: cluster ?? '',
    differences: check?.differences ?? null,
    done: (kept) => {
      reload();
      if (kept !== name) window.location.hash = `#/policies/${kept}`;
    },
  };
  return (
    <>
      <div class="heading">
        <Status check={check} />
        <span class="grow" />
        {cluster !== undefined && (
          <ClusterChoice clusters={clusters} value={cluster} set={setChosen} />
        )}
        {mayWrite() && !isStored && (
          <button type="button" class="quiet" disabled={!isFine} onClick={() => askStore(enabling)}>
            Keep
          </button>
        )}
        {isAdmin.value && cluster !== undefined && (
          <button
            type="button"
            disabled={!isFine || isFollowed || (!isStored && !mayWrite())}
            onClick={() => askEnable(enabling)}
          >
            {isFollowed ? `${cluster} follows it` : `Enable for ${cluster}`}
          </button>
        )}
      </div>
      <CodeEditor
        label={`Text of ${policy ? name : 'the new policy'}`}
        value={yaml}
        set={(value) => (text.value = value)}
        marks={marks}
        isReadOnly={isShipped || !mayAct.value}
        area={area}
      />
      {problem && <ProblemNote problem={problem} />}
      <Problems marks={marks} go={(mark) => goTo(area.current, mark)} />
      {check?.differences && cluster !== undefined && (
        <section aria-label="Changes">
          <h2>What it changes for {cluster}</h2>
          {check.differences.length === 0 ? (
            <p class="state-note">Nothing: {cluster} follows exactly this.</p>
          ) : (
            <Changes of={check.differences} />
          )}
        </section>
      )}
      {policy !== undefined && policy.version > 0 && (
        <Versions
          name={name}
          cluster={cluster}
          followedHash={clusters.find(({ id }) => id === cluster)?.policyHash ?? null}
          done={reload}
        />
      )}
      {cluster !== undefined && mayAct.value && (
        <Backtest key={cluster} yaml={yaml} cluster={cluster} isFine={isFine} onDone={setTested} />
      )}
    </>
  );
}

function Editing({ policy, ...rest }: Omit<Of, 'text'> & { base: string }) {
  const [text] = useState(() => signal(policy?.yaml ?? firstText(rest.base)));
  return <Desk policy={policy} text={text} {...rest} />;
}

/** `name` null: a new one, standing on `base`. */
export function PolicyPage({ name, base = 'balance' }: { name: string | null; base?: string }) {
  const policies = useQuery<Policies>('policies');
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=1000', { everyMs: 15_000 });
  const policy = policies.data?.items.find((one) => one.name === name);
  const isUnknown = name !== null && policies.data !== undefined && !policy;
  const reload = (): void => {
    policies.reload();
    // What a cluster follows is seen with the next tick of the engine.
    setTimeout(clusters.reload, 1_500);
  };
  return (
    <>
      <p class="back">
        <a href="#/policies">Policies</a>
      </p>
      <div class="heading">
        <h1>{name ?? 'New policy'}</h1>
        {policy && policy.version > 0 && <small class="tag">version {policy.version}</small>}
        {policy?.source === 'shipped' && (
          <>
            <small class="tag">shipped</small>
            <span class="grow" />
            {mayWrite() && <a href={`#/policies/new/${policy.name}`}>Make your own from it</a>}
          </>
        )}
      </div>
      {policy?.about && <p class="faint">{policy.about}</p>}
      {isUnknown ? (
        <p class="state-note">There is no policy {name}.</p>
      ) : (
        <Answer of={policies} what="the policy">
          {({ items }) => (
            <Answer of={clusters} what="clusters">
              {(page) => (
                <Editing
                  key={policy?.hash ?? base}
                  policy={policy}
                  name={name ?? ''}
                  base={base}
                  clusters={page.items}
                  policies={items}
                  reload={reload}
                />
              )}
            </Answer>
          )}
        </Answer>
      )}
    </>
  );
}
