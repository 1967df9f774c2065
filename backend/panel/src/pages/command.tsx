/** One command: its steps, what the guards said, what it printed, and what can still be done. */
import type { Fact } from '../../../decide/plan.ts';
import type { CommandDetail } from '../../../http/routes/commands.ts';
import { call } from '../api.ts';
import { counted } from '../format.ts';
import { CommandState, hasEnded } from '../parts/command-list.tsx';
import { Output, Plan, Resolve, Steps } from '../parts/command-steps.tsx';
import { ask } from '../parts/dialog.tsx';
import { Facts } from '../parts/facts.tsx';
import { Answer, toast } from '../parts/feedback.tsx';
import { useLive } from '../query.ts';
import { isAdmin, mayAct } from '../session.ts';

const Raw = ({ title, value }: { title: string; value: unknown }) =>
  value === null || (Array.isArray(value) && value.length === 0) ? null : (
    <details class="card pad">
      <summary>{title}</summary>
      <pre>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );

type Judged = {
  phase: string;
  atMs: number;
  verdicts: { id: string; facts: Fact[]; denial: { code: string; detail?: string } | null }[];
};

const judgedWhen: Record<string, string> = {
  PLANNED: 'when it was planned',
  GRANT: 'directly before it was granted',
};

/** Each time it was judged: what each guard saw, and which of them said no. */
const Guards = ({ of }: { of: readonly Judged[] }) => (
  <>
    {of.map(({ phase, atMs, verdicts }) => {
      const denied = verdicts.filter(({ denial }) => denial !== null);
      return (
        <details key={`${phase}${atMs}`} class="card pad">
          <summary>
            {counted(verdicts.length, 'guard')} {judgedWhen[phase] ?? phase.toLowerCase()},{' '}
            {denied.length === 0 ? (
              <span class="good-text">none objected</span>
            ) : (
              <span class="bad-text">{denied.map(({ id }) => id).join(', ')} objected</span>
            )}
          </summary>
          <ul class="plain-list guards">
            {verdicts.map(({ id, facts, denial }) => (
              <li key={id}>
                <strong class={denial ? 'bad-text' : 'good-text'}>
                  {denial ? '✕' : '✓'} {id}
                </strong>{' '}
                {denial && <span>{denial.detail ?? denial.code}</span>}
                <Facts facts={facts} />
              </li>
            ))}
          </ul>
        </details>
      );
    })}
  </>
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

const subjectLink = ({ target, cluster }: CommandDetail): string =>
  `#/${target.kind === 'node' ? 'nodes' : 'guests'}/${cluster}/${target.id}`;

export function CommandPage({ id }: { id: string }) {
  const command = useLive<CommandDetail>(`commands/${id}`, id);
  const { reload } = command;
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
          <Plan of={data} />
          <h2>Steps</h2>
          <Steps history={data.history} />
          <Output result={data.result} title="What its program wrote" />
          <Raw title="Arguments" value={data.args} />
          <Guards of={data.guards as Judged[]} />
          <Raw title="What it answered" value={data.result} />
          <Raw title="Who witnessed it" value={data.witnesses} />
        </>
      )}
    </Answer>
  );
}
