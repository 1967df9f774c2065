/** One command: its steps, what the guards said, what it printed, and what can still be done. */
import { useEffect } from 'preact/hooks';
import type { CommandDetail } from '../../../http/routes/commands.ts';
import { call } from '../api.ts';
import { duration, moment } from '../format.ts';
import { lastCommand } from '../live.ts';
import { CommandState, commandTone, hasEnded } from '../parts/command-list.tsx';
import { ask, Field, PasswordAgain } from '../parts/dialog.tsx';
import { Answer, toast } from '../parts/feedback.tsx';
import { useQuery } from '../query.ts';
import { isAdmin, mayAct } from '../session.ts';

const Facts = ({ title, value }: { title: string; value: unknown }) =>
  value === null || (Array.isArray(value) && value.length === 0) ? null : (
    <details class="card pad">
      <summary>{title}</summary>
      <pre>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );

const Steps = ({ history }: { history: CommandDetail['history'] }) => (
  <ol class="steps card pad">
    {history.map(({ state, at, actor, reason }, index) => {
      const before = history[index - 1];
      const tookMs = before ? Date.parse(at) - Date.parse(before.at) : 0;
      return (
        <li key={`${state}${at}`} class={commandTone(state)}>
          <strong>{state.toLowerCase()}</strong>{' '}
          <span class="faint">
            <time dateTime={at}>{moment(at)}</time>
            {tookMs >= 1_000 && `, after ${duration(tookMs)}`}, {actor}
          </span>
          {reason && <p>{reason}</p>}
        </li>
      );
    })}
  </ol>
);

function Approve({ command, reload }: { command: CommandDetail; reload: () => void }) {
  const change = (verb: 'approve' | 'cancel', says: string) => () =>
    ask({
      title: `${verb === 'approve' ? 'Approve' : 'Cancel'} ${command.kind} of ${command.target.id}`,
      confirm: verb === 'approve' ? 'Approve' : 'Withdraw it',
      body: <p>{says}</p>,
      run: async () => {
        await call('POST', `commands/${command.id}/${verb}`);
        toast(verb === 'approve' ? 'Approved.' : 'Withdrawn.', { kind: 'good' });
        reload();
      },
    });
  return (
    <>
      {command.state === 'PLANNED' && command.approvedBy === null && (
        <button
          type="button"
          onClick={change('approve', command.reason ?? 'It goes to the node as it stands here.')}
        >
          Approve
        </button>
      )}
      <button
        type="button"
        class="quiet"
        onClick={change(
          'cancel',
          'It is withdrawn if it has not begun. What has begun on the host is asked to stop where its kind can.',
        )}
      >
        Cancel
      </button>
    </>
  );
}

const Resolve = ({ command, reload }: { command: CommandDetail; reload: () => void }) => (
  <button
    type="button"
    onClick={() =>
      ask({
        title: `What became of ${command.kind} of ${command.target.id}?`,
        confirm: 'State it',
        isDangerous: true,
        body: (
          <>
            <p>
              Nobody could tell whether it happened, and it is never repeated by itself. Look at the
              machine first; what you state here is kept with your name.
            </p>
            <Field label="It">
              <select name="outcome">
                <option value="succeeded">happened</option>
                <option value="failed">did not happen</option>
              </select>
            </Field>
            <Field label="What you saw">
              <input name="note" required maxLength={512} autocomplete="off" />
            </Field>
            <PasswordAgain />
          </>
        ),
        run: async ({ outcome, note, password = '' }) => {
          await call('POST', `commands/${command.id}/resolve`, {
            body: { outcome, note, ...(password === '' ? {} : { password }) },
          });
          toast('Noted.', { kind: 'good' });
          reload();
        },
      })
    }
  >
    Resolve
  </button>
);

const subjectLink = ({ target, cluster }: CommandDetail): string =>
  `#/${target.kind === 'node' ? 'nodes' : 'guests'}/${cluster}/${target.id}`;

export function CommandPage({ id }: { id: string }) {
  const command = useQuery<CommandDetail>(`commands/${id}`, { everyMs: 10_000 });
  const { reload } = command;
  const news = lastCommand.value;
  useEffect(() => {
    if (news?.id === id) reload();
  }, [news, id, reload]);
  return (
    <Answer of={command} what="the command">
      {(data) => (
        <>
          <div class="heading">
            <h1>
              {data.kind} <a href={subjectLink(data)}>{data.target.id}</a>
            </h1>
            <CommandState state={data.state} />
          </div>
          <p>
            Asked for by {data.actor}
            {data.approvedBy &&
              data.approvedBy !== data.actor &&
              `, approved by ${data.approvedBy}`}
            , to be done by <a href={`#/nodes/${data.cluster}/${data.node}`}>{data.node}</a>.{' '}
            {data.reason}{' '}
            {data.decisionId && (
              <a href={`#/decisions/${data.decisionId}`}>Why the engine wants it</a>
            )}
          </p>
          {data.stateReason && <p class="card pad">{data.stateReason}</p>}
          {mayAct.value && !hasEnded(data.state) && (
            <div class="buttons start">
              {data.state === 'INDETERMINATE' ? (
                isAdmin.value && <Resolve command={data} reload={reload} />
              ) : (
                <Approve command={data} reload={reload} />
              )}
            </div>
          )}
          <h2>Steps</h2>
          <Steps history={data.history} />
          <Facts title="Arguments" value={data.args} />
          <Facts title="What the guards said" value={data.guards} />
          <Facts title="What it printed and left" value={data.result} />
          <Facts title="Who witnessed it" value={data.witnesses} />
        </>
      )}
    </Answer>
  );
}
