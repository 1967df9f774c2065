/**
 * A node in a person's hands: begun with what becomes of each guest in words, watched while it
 * empties or fills again, and ended. The engine does the work; this shows what the server says.
 */
import type { ComponentChildren } from 'preact';
import type { EmptyingView } from '../../../../http/routes/emptying.ts';
import type { NodeView } from '../../../../http/views.ts';
import { call, problemOf } from '../../api.ts';
import { counted } from '../../format.ts';
import { ask, Field } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';
import { isAdmin } from '../../session.ts';
import type { At } from '../saving/proof.tsx';
import { Denied, GuestsLeaving, InTheWay } from './emptying.tsx';

const pathOf = ({ cluster, node }: At): string => `clusters/${cluster}/nodes/${node}/maintenance`;

const Reason = () => (
  <Field label="Reason (optional)">
    <input name="reason" maxLength={512} autocomplete="off" placeholder="new fans" />
  </Field>
);

type ChoiceProps = {
  value: string;
  says: ComponentChildren;
  isFirst?: boolean;
  isDisabled?: boolean;
};

const Choice = ({ value, says, isFirst = false, isDisabled = false }: ChoiceProps) => (
  <label class="check">
    <input type="radio" name="how" value={value} defaultChecked={isFirst} disabled={isDisabled} />
    <span>{says}</span>
  </label>
);

const bodies: Record<string, object> = {
  rest: { maintenance: true, evacuate: true },
  sleep: { maintenance: true, evacuate: true, sleep: true },
  stay: { maintenance: true },
  return: { maintenance: false },
  leave: { maintenance: false, guestsReturn: false },
};

async function order(at: At, how: string, reason = ''): Promise<void> {
  await call('PUT', pathOf(at), { body: { ...bodies[how], ...(reason && { reason }) } });
}

/** What to do about guests that stay; nothing where none does, or a node is woken for them. */
function Staying({ node, of: { guests, wakes } }: { node: string; of: EmptyingView }) {
  const staying = guests.filter(({ way }) => way === 'stays').length;
  if (staying === 0 || wakes.length > 0) return null;
  return (
    <p class="faint">
      {staying < guests.length && 'The others leave all the same. '}
      What stays leaves once it can, or you stop it; until then {node} does not count as empty.
    </p>
  );
}

const SwitchedOff = ({ of: { isProven, offDenials = [] } }: { of: EmptyingView }) =>
  isProven ? (
    <>
      It is switched off; nothing wakes it but the end of the maintenance
      {offDenials.length > 0 && (
        <Denied by={offDenials} says="Now the guards would refuse that, and it waits:" />
      )}
    </>
  ) : (
    <>It is switched off: not before somebody has proven that it wakes again</>
  );

function Beginning({ at }: { at: At }) {
  const emptying = useQuery<EmptyingView>(`${pathOf(at)}?guards=true`);
  return (
    <>
      <p>
        {at.node} is emptied guest by guest, running guests stay up, and nothing new comes onto it.
        Once it is empty it is yours to work on; nobody is alarmed by its silence.
      </p>
      <Answer of={emptying} what="where its guests can go">
        {(found) => (
          <>
            {found.guests.length > 0 ? (
              <GuestsLeaving at={at} of={found} />
            ) : (
              <p>No guest runs on it.</p>
            )}
            <Staying node={at.node} of={found} />
            <InTheWay of={found} />
            <fieldset class="one-of">
              <legend class="faint">Then</legend>
              <Choice value="rest" says="It stays on and waits for you" isFirst />
              <Choice
                value="sleep"
                says={<SwitchedOff of={found} />}
                isDisabled={!found.isProven}
              />
              <Choice value="stay" says="Move nobody: it is yours as it is, guests and all" />
            </fieldset>
          </>
        )}
      </Answer>
      <Reason />
    </>
  );
}

const askBegin = (at: At, done: () => void): void =>
  ask({
    title: `Maintenance of ${at.node}`,
    confirm: 'Begin',
    body: <Beginning at={at} />,
    run: async ({ how = 'rest', reason }) => {
      await order(at, how, reason);
      done();
    },
  });

const askEnd = (at: At, away: number, done: () => void): void =>
  ask({
    title: `End the maintenance of ${at.node}`,
    confirm: 'End maintenance',
    body: (
      <>
        <p>{at.node} is woken if it sleeps, takes guests again, and is watched as before.</p>
        {away > 0 && (
          <fieldset class="one-of">
            <legend class="faint">{counted(away, 'guest')} ran on it when this began</legend>
            <Choice value="return" says="They come back, one after the other" isFirst />
            <Choice value="leave" says="They stay where they are now" />
          </fieldset>
        )}
        <Reason />
      </>
    ),
    run: async ({ how = 'return', reason }) => {
      await order(at, how, reason);
      done();
    },
  });

/** How many of those that ran there when it began are there now. */
const present = (found: EmptyingView, began: readonly string[]): number =>
  found.guests.filter(({ id }) => began.includes(id)).length;

const Progress = ({ done, all, what }: { done: number; all: number; what: string }) =>
  all === 0 ? null : (
    <p>
      <progress value={done} max={all} aria-label={`Guests that ${what}`} /> {done} of{' '}
      {counted(all, 'guest')} {what}
    </p>
  );

function Emptied({ view, found }: { view: NodeView; found: EmptyingView }) {
  const { evacuation, id, state } = view;
  const began = evacuation?.guests ?? [];
  if (found.guests.length === 0 || state === 'maintenance') {
    const isOff = state === 'asleep' || (evacuation?.sleeps && state === 'maintenance');
    return (
      <p role="status">
        <strong>{isOff ? `${id} is empty and switched off.` : `${id} is empty.`}</strong>{' '}
        {state === 'maintenance'
          ? 'It is yours; nothing moves onto it until the maintenance ends.'
          : evacuation?.sleeps
            ? 'It is switched off next.'
            : 'In a moment it is yours.'}
      </p>
    );
  }
  const left = found.guests.length;
  return (
    <>
      <p role="status">
        <strong>{id} is being emptied.</strong> {left === 1 ? '1 guest is' : `${left} guests are`}{' '}
        still on it; then it {evacuation?.sleeps ? 'is switched off' : 'is yours'}.
      </p>
      <Progress done={began.length - present(found, began)} all={began.length} what="have left" />
      <GuestsLeaving at={{ cluster: view.cluster, node: id }} of={found} />
    </>
  );
}

function Returning({ view, found }: { view: NodeView; found: EmptyingView }) {
  const began = view.evacuation?.guests ?? [];
  return (
    <>
      <p role="status">
        <strong>The maintenance of {view.id} is over.</strong>{' '}
        {view.state === 'awake'
          ? 'Its guests come back, one after the other.'
          : 'It wakes; then its guests come back.'}
      </p>
      <Progress done={present(found, began)} all={began.length} what="are back" />
    </>
  );
}

const EndButton = ({ at, view, done }: { at: At; view: NodeView; done: () => void }) => (
  <button type="button" onClick={() => askEnd(at, view.evacuation?.guests.length ?? 0, done)}>
    End maintenance
  </button>
);

function UnderWay({ at, view, done }: { at: At; view: NodeView; done: () => void }) {
  const { evacuation } = view;
  const emptying = useQuery<EmptyingView>(evacuation ? pathOf(at) : null, { everyMs: 3_000 });
  const leave = async (): Promise<void> => {
    try {
      await order(at, 'leave');
      done();
    } catch (error) {
      const { detail, wayOut = '' } = problemOf(error);
      toast(`${detail} ${wayOut}`, { kind: 'bad' });
    }
  };
  return (
    <section class="card pad maintenance" aria-label="Maintenance">
      {!evacuation && (
        <p role="status">
          <strong>{at.node} is under maintenance,</strong> with its guests on it. Nobody is alarmed
          by its silence, and nothing moves onto it.
        </p>
      )}
      {evacuation && (
        <Answer of={emptying} what="how far it is">
          {(found) => (
            <>
              {evacuation.phase === 'return' ? (
                <Returning view={view} found={found} />
              ) : (
                <Emptied view={view} found={found} />
              )}
              <InTheWay of={found} />
            </>
          )}
        </Answer>
      )}
      {isAdmin.value && (
        <div class="buttons start">
          {evacuation?.phase === 'return' ? (
            <button type="button" class="quiet" onClick={() => void leave()}>
              Leave them where they are
            </button>
          ) : (
            <EndButton at={at} view={view} done={done} />
          )}
        </div>
      )}
    </section>
  );
}

const isInHand = ({ evacuation, state }: NodeView): boolean =>
  evacuation !== null || state === 'maintenance';

/** A node that is emptied for its wake proof is the business of that page. */
const Proving = ({ at }: { at: At }) => (
  <p class="notice plain" role="status">
    It is being emptied for its wake proof:{' '}
    <a href={`#/saving/${at.cluster}/${at.node}`}>see how far it is</a>.
  </p>
);

/** Nothing where no maintenance is under way. */
export function Maintenance({ view, reload }: { view: NodeView; reload: () => void }) {
  const at = { cluster: view.cluster, node: view.id };
  if (view.evacuation?.phase === 'prove') return <Proving at={at} />;
  if (!isInHand(view)) return null;
  return <UnderWay at={at} view={view} done={reload} />;
}

export function MaintenanceButton({ view, reload }: { view: NodeView; reload: () => void }) {
  if (!isAdmin.value || isInHand(view)) return null;
  const at = { cluster: view.cluster, node: view.id };
  return (
    <button type="button" class="quiet" onClick={() => askBegin(at, reload)}>
      Maintenance
    </button>
  );
}
