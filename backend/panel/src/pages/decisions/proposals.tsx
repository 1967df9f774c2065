/**
 * What waits for a person: proposals of the engine to approve or reject, and recommendations that
 * a person may carry out. Both say in words what will happen before anything is sent.
 */
import { useEffect } from 'preact/hooks';
import type { Intent } from '../../../../decide/plan.ts';
import type { CommandView } from '../../../../http/routes/commands.ts';
import type { DecisionDetail } from '../../../../http/routes/decisions.ts';
import { call, get, type Page, problemOf } from '../../api.ts';
import { moment } from '../../format.ts';
import { lastCommand } from '../../live.ts';
import { ask } from '../../parts/dialog.tsx';
import { ProblemNote, toast } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';
import { mayAct } from '../../session.ts';

const titleOf = ({ kind, target }: CommandView): string => `${kind} ${target.id}`;

const askVerdict = (command: CommandView, verb: 'approve' | 'cancel', done: () => void): void =>
  ask({
    title: `${verb === 'approve' ? 'Approve' : 'Reject'} ${titleOf(command)}`,
    confirm: verb === 'approve' ? 'Approve' : 'Reject',
    isDangerous: verb === 'approve' && command.kind === 'node.shutdown',
    body: (
      <>
        <p>{command.reason}</p>
        <p class="faint">
          {verb === 'approve'
            ? 'It goes to the node now; the guards look at it again before it begins.'
            : 'It is withdrawn. The engine may propose it again later.'}
        </p>
      </>
    ),
    run: async () => {
      await call('POST', `commands/${command.id}/${verb}`);
      toast(verb === 'approve' ? 'Approved.' : 'Rejected.', {
        kind: 'good',
        href: `#/activity/${command.id}`,
      });
      done();
    },
  });

const Proposal = ({ command, done }: { command: CommandView; done: () => void }) => (
  <li class="card proposal">
    <div>
      <strong>{titleOf(command)}</strong>{' '}
      <span class="faint">
        {command.cluster}, <time dateTime={command.plannedAt}>{moment(command.plannedAt)}</time>
      </span>
      <p>
        {command.reason}{' '}
        {command.decisionId && <a href={`#/decisions/${command.decisionId}`}>Why?</a>}
      </p>
    </div>
    {mayAct.value && (
      <div class="buttons">
        <button type="button" class="quiet" onClick={() => askVerdict(command, 'cancel', done)}>
          Reject
        </button>
        <button type="button" onClick={() => askVerdict(command, 'approve', done)}>
          Approve
        </button>
      </div>
    )}
  </li>
);

/** Nothing at all where nothing waits. */
export function Proposals() {
  const planned = useQuery<Page<CommandView>>('commands?state=PLANNED&limit=100', {
    everyMs: 10_000,
  });
  const { reload } = planned;
  const news = lastCommand.value;
  useEffect(() => {
    if (news) reload();
  }, [news, reload]);
  const waiting = planned.data?.items.filter(({ origin }) => origin === 'engine') ?? [];
  return (
    <>
      {planned.problem && <ProblemNote problem={planned.problem} retry={reload} />}
      {waiting.length > 0 && (
        <section aria-label="Waiting for you">
          <h2>Waiting for you</h2>
          <ul class="timeline">
            {waiting.map((command) => (
              <Proposal key={command.id} command={command} done={reload} />
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

async function carryOut({ id, intents }: { id: string; intents: Intent[] }): Promise<void> {
  for (const { cluster, target, executor, action } of intents) {
    const isOfGuest = target.kind === 'guest';
    await call('POST', 'commands', {
      body: {
        cluster,
        kind: action.kind,
        node: isOfGuest ? executor : target.id,
        ...(isOfGuest ? { guest: target.id } : {}),
        args: action.args,
        reason: `recommended by decision ${id}`,
      },
      // Pressed twice, it is still one command.
      headers: { 'idempotency-key': `${id}-${action.kind}-${target.id}` },
    });
  }
}

async function askCarryOut(id: string): Promise<void> {
  try {
    const detail = await get<DecisionDetail>(`decisions/${id}`);
    const intents = detail.intents as Intent[];
    ask({
      title: 'Do what was recommended',
      confirm: 'Do it',
      isDangerous: intents.some(({ action }) => action.kind === 'node.shutdown'),
      body: (
        <>
          <ul>
            {intents.map(({ action, target, reason }) => (
              <li key={`${action.kind}${target.id}`}>
                <strong>
                  {action.kind} {target.id}
                </strong>
                : {reason}
              </li>
            ))}
          </ul>
          <p class="faint">Decided {moment(detail.at)}; the guards judge it by what is so now.</p>
        </>
      ),
      run: async () => {
        await carryOut({ id, intents });
        toast('It is on its way.', { kind: 'good', href: '#/activity' });
      },
    });
  } catch (error) {
    toast(problemOf(error).detail, { kind: 'bad' });
  }
}

export const CarryOut = ({ id }: { id: string }) =>
  mayAct.value ? (
    <button type="button" class="quiet small" onClick={() => void askCarryOut(id)}>
      Do it
    </button>
  ) : null;
