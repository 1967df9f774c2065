/** The versions of a policy: who wrote which when, what each changed, and the way back to one. */
import { useState } from 'preact/hooks';
import type { PolicyView } from '../../../../http/routes/policies.ts';
import { call } from '../../api.ts';
import { moment } from '../../format.ts';
import { ask } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { lineDiff } from '../../parts/line-diff.ts';
import { useQuery } from '../../query.ts';
import { isAdmin } from '../../session.ts';

type Version = PolicyView;

const authorOf = (author: string): string => author.replace(/^account:/, '');

const Changed = ({ before, after }: { before: string; after: string }) => {
  const lines = lineDiff(before, after);
  if (lines.length === 0) return <p class="faint">Nothing: the same text.</p>;
  return (
    <pre class="line-diff">
      {lines.map(({ mark, text }, at) => (
        <span
          key={at}
          class={mark === '+' ? 'diff-new' : mark === '-' ? 'diff-old' : 'faint'}
        >{`${mark} ${text}\n`}</span>
      ))}
    </pre>
  );
};

const askBack = (version: Version, cluster: string, done: () => void): void =>
  ask({
    title: `${cluster} goes back to version ${version.version} of ${version.name}`,
    confirm: 'Go back',
    body: <p>From the next decision on. Later versions stay, and may be followed again.</p>,
    run: async () => {
      const body = { policy: version.name, version: version.version };
      await call('PUT', `clusters/${cluster}/policy`, { body });
      toast(`${cluster} follows version ${version.version} of ${version.name}.`, { kind: 'good' });
      done();
    },
  });

type RowProps = {
  version: Version;
  before: Version | undefined;
  cluster: string | undefined;
  isFollowed: boolean;
  done: () => void;
};

function Row({ version, before, cluster, isFollowed, done }: RowProps) {
  const [isOpen, setOpen] = useState(false);
  return (
    <li>
      <div class="version">
        <span>
          <strong>Version {version.version}</strong>{' '}
          <span class="faint">
            {version.createdAt && (
              <time dateTime={version.createdAt}>{moment(version.createdAt)}</time>
            )}
            , by {authorOf(version.author)}
          </span>{' '}
          {isFollowed && <small class="tag">followed by {cluster}</small>}
        </span>
        <span class="row-buttons">
          {before && (
            <button
              type="button"
              class="quiet small"
              aria-expanded={isOpen}
              onClick={() => setOpen(!isOpen)}
            >
              What it changed
            </button>
          )}
          {isAdmin.value && cluster !== undefined && !isFollowed && (
            <button
              type="button"
              class="quiet small"
              onClick={() => askBack(version, cluster, done)}
            >
              Back to it
            </button>
          )}
        </span>
      </div>
      {isOpen && before && <Changed before={before.yaml} after={version.yaml} />}
    </li>
  );
}

type Props = {
  name: string;
  cluster: string | undefined;
  followedHash: string | null;
  done: () => void;
};

export function Versions({ name, cluster, followedHash, done }: Props) {
  const versions = useQuery<{ items: Version[] }>(`policies/${name}/versions`);
  return (
    <section aria-label="Versions">
      <h2>Versions</h2>
      <Answer of={versions} what="versions">
        {({ items }) => (
          <ul class="card pad plain-list versions">
            {items.map((version, at) => (
              <Row
                key={version.version}
                version={version}
                before={items[at + 1]}
                cluster={cluster}
                isFollowed={version.hash === followedHash}
                done={done}
              />
            ))}
          </ul>
        )}
      </Answer>
    </section>
  );
}
