/**
 * When the node may sleep by itself: what has to be allowed for it, since when it is watched, and
 * the typed way round the wait.
 */
import type { PowerSaving } from '../../../../http/routes/power-saving.ts';
import type { Standing } from '../../../../http/routes/wake-proofs.ts';
import { call } from '../../api.ts';
import { counted, duration, moment } from '../../format.ts';
import { ask, PasswordAgain, TypedWord } from '../../parts/dialog.tsx';
import { isAdmin } from '../../session.ts';
import type { At } from './proof.tsx';

type Level = 'auto' | 'approve';
type Wish = { cluster: string; level: Level; policy: PowerSaving['policy']; done: () => void };

const saver = 'save-power';

async function allow({ cluster, level, policy }: Wish): Promise<void> {
  if (!policy.saves) {
    await call('PUT', `clusters/${cluster}/policy`, { body: { policy: saver } });
  }
  // What may already move by itself is not made to ask again.
  const moves = policy.moves === 'auto' ? 'auto' : level;
  const autonomy = { 'node.shutdown': level, 'node.wake': level, 'guest.migrate': moves };
  await call('PATCH', `clusters/${cluster}`, { body: { autonomy } });
}

const askLevel = (wish: Wish): void => {
  const { cluster, level, policy, done } = wish;
  ask({
    title: level === 'auto' ? `Let ${cluster} save power by itself` : 'Ask me each time',
    confirm: level === 'auto' ? 'Let it' : 'Ask me',
    body: (
      <>
        <p>
          {level === 'auto'
            ? `Proven nodes of ${cluster} are emptied and put to sleep when the rest carries their guests, and woken before they are needed. Every guard stays; each night stands under Decisions.`
            : `Each move, sleep and wake of ${cluster} waits under Decisions until somebody approves it.`}
        </p>
        {!policy.saves && (
          <p>
            Under the policy it follows now, {policy.name}, nothing sleeps: from now on it follows{' '}
            <strong>{saver}</strong>.
          </p>
        )}
      </>
    ),
    run: async () => {
      await allow(wish);
      done();
    },
  });
};

function askTrust({ cluster, node }: At, done: () => void): void {
  ask({
    title: 'Do not wait',
    confirm: 'I answer for it',
    isDangerous: true,
    body: (
      <>
        <p>
          The engine would be watched for seven days before it may move guests of {cluster} and
          switch its nodes off unasked. You end that now: the guards stay, and the first
          contradiction begins the watch anew. It is written into the audit log under your name.
        </p>
        <TypedWord word={cluster} />
        <PasswordAgain />
      </>
    ),
    run: async ({ confirm, password = '' }) => {
      await call('POST', `clusters/${cluster}/nodes/${node}/end-watch`, {
        body: { confirm, ...(password !== '' && { password }) },
      });
      done();
    },
  });
}

type Props = {
  at: At;
  standing: Standing;
  policy: PowerSaving['policy'];
  rest: PowerSaving['rest'];
  reload: () => void;
};

/** Its proof has moved each guest away and back, which the engine counts like its own moves. */
const Rest = ({ rest, policy }: Pick<Props, 'rest' | 'policy'>) =>
  rest?.until ? (
    <p>
      <strong>Not emptied before {moment(rest.until)},</strong> because guests on it were moved
      lately, for its proof too, and the engine moves one at most{' '}
      {counted(rest.movesPerDay, 'time')} a day (<code>guestMovesPerDay</code> of the policy{' '}
      {policy.name} and of the cluster’s limits), the last of them only for relief.
    </p>
  ) : rest !== null && rest.movesPerDay < 2 ? (
    <p>
      <strong>Guests keep it awake:</strong> with {counted(rest.movesPerDay, 'move')} of a guest a
      day (<code>guestMovesPerDay</code>) none is left for saving. It sleeps only when it is empty
      anyway.
    </p>
  ) : null;

function Choice({ at, standing, policy, reload }: Props) {
  const { watch, isProven } = standing;
  // What a cluster may do is seen with the next tick of the engine.
  const done = (): void => void setTimeout(reload, 1_200);
  const choose = (level: Level) => askLevel({ cluster: at.cluster, level, policy, done });
  return (
    <>
      <p>
        {watch.wished === 'auto'
          ? `It may, but under the policy ${policy.name} nothing sleeps.`
          : watch.wished === 'approve'
            ? 'It asks a person before each sleep.'
            : 'It only says when the node could sleep.'}
      </p>
      {isAdmin.value && (
        <div class="buttons start">
          <button type="button" disabled={!isProven} onClick={() => choose('auto')}>
            Let it sleep by itself
          </button>
          {watch.wished !== 'approve' && (
            <button
              type="button"
              class="quiet"
              disabled={!isProven}
              onClick={() => choose('approve')}
            >
              Ask me each time
            </button>
          )}
        </div>
      )}
      {!isProven && <p class="faint">Once it is proven.</p>}
    </>
  );
}

export function Automatic(props: Props) {
  const { at, standing, policy, rest, reload } = props;
  const { watch } = standing;
  if (watch.wished !== 'auto' || !policy.saves) return <Choice {...props} />;
  const leftMs = watch.automaticAt === null ? 0 : Date.parse(watch.automaticAt) - Date.now();
  if (leftMs <= 0) {
    return (
      <>
        <p>
          <strong>It sleeps by itself</strong> when nobody needs it, and wakes before somebody does.
          {watch.reason !== null && <span class="faint"> The watch was {watch.reason}.</span>}
        </p>
        <Rest rest={rest} policy={policy} />
      </>
    );
  }
  return (
    <>
      <p>
        <strong>Automatic in {duration(leftMs)}</strong>, because{' '}
        {watch.reason ??
          'the engine is watched for seven days before it may switch anything off unasked'}
        . Until then it asks.
      </p>
      {isAdmin.value && (
        <button type="button" class="quiet" onClick={() => askTrust(at, reload)}>
          Do not wait …
        </button>
      )}
    </>
  );
}
