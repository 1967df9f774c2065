/**
 * Who runs on the node and what becomes of each before it is switched off: it moves, it is parked,
 * or it stays and bars the way. Emptying it is one button, since all it does stands above it.
 */
import type { PowerSaving } from '../../../../http/routes/power-saving.ts';
import type { NodeView } from '../../../../http/views.ts';
import { call, problemOf } from '../../api.ts';
import { counted } from '../../format.ts';
import { toast } from '../../parts/feedback.tsx';
import { isAdmin } from '../../session.ts';
import type { At } from './proof.tsx';

type Resident = NonNullable<PowerSaving['residents']>[number];

const ways: Record<Resident['way'], string> = {
  moves: 'moves to another node, and comes back after the proof',
  parks: 'is shut down before the node, and started when that is awake again',
  stays: 'stays, so that the node may not sleep',
};

async function order({ cluster, node }: At, body: object, done: () => void): Promise<void> {
  try {
    await call('PUT', `clusters/${cluster}/nodes/${node}/maintenance`, { body });
    done();
  } catch (error) {
    const { detail, wayOut = '' } = problemOf(error);
    toast(`${detail} ${wayOut}`, { kind: 'bad' });
  }
}

const List = ({ residents, at }: { residents: readonly Resident[]; at: At }) => (
  <ul class="plain-list checks residents" aria-label="Its guests">
    {residents.map(({ id, name, way, why }) => (
      <li key={id} data-state={way === 'stays' ? 'wrong' : way === 'parks' ? 'fine' : 'note'}>
        <a href={`#/guests/${at.cluster}/${id}`}>{name}</a>{' '}
        <span class="faint">
          {ways[way]}
          {why !== null && `: ${why}`}
        </span>
      </li>
    ))}
  </ul>
);

const stayHint =
  'What stays can be stopped by you; tagged kr_park it is shut down and started with the node, and a container tagged kr_restart may be restarted elsewhere.';

type Props = {
  at: At;
  residents: readonly Resident[];
  evacuation: NodeView['evacuation'];
  reload: () => void;
};

/** Nothing at all where nothing runs and nothing is under way. */
export function Residents({ at, residents, evacuation, reload }: Props) {
  const leaving = residents.filter(({ way }) => way !== 'parks').length;
  const back = { maintenance: false };
  if (residents.length === 0 && !evacuation) return null;
  return (
    <div class="residents">
      {evacuation?.phase !== 'return' && <List residents={residents} at={at} />}
      {evacuation?.phase === 'prove' && (
        <p role="status">
          {leaving > 0
            ? `It is being emptied: ${counted(leaving, 'guest')} left. What is in the way stands under `
            : 'It is empty for its proof. '}
          {leaving > 0 && <a href="#/decisions">Decisions</a>}
        </p>
      )}
      {evacuation?.phase === 'return' && (
        <p role="status">Its guests come back, one after the other.</p>
      )}
      {!evacuation && residents.some(({ way }) => way === 'stays') && (
        <p class="faint">{stayHint}</p>
      )}
      {isAdmin.value && !evacuation && leaving > 0 && (
        <button
          type="button"
          onClick={() =>
            void order(at, { maintenance: true, evacuate: true, forProof: true }, reload)
          }
        >
          Empty it
        </button>
      )}
      {isAdmin.value && evacuation?.phase === 'prove' && (
        <button type="button" class="quiet small" onClick={() => void order(at, back, reload)}>
          Bring its guests back
        </button>
      )}
      {isAdmin.value && evacuation?.phase === 'return' && (
        <button
          type="button"
          class="quiet small"
          onClick={() => void order(at, { ...back, guestsReturn: false }, reload)}
        >
          Leave them where they are
        </button>
      )}
    </div>
  );
}
