/**
 * Which guest of a node goes where when it is emptied, in the server's own words: its engine chose
 * the targets, and says what keeps a guest or what is in the way of the next step.
 */
import type { EmptyingView } from '../../../../http/routes/emptying.ts';
import { counted, percent, sentence } from '../../format.ts';
import type { At } from '../saving/proof.tsx';

type Leaving = EmptyingView['guests'][number];

/** From here on a list has an end of its own, so that a dialog stays one. */
const shownMax = 40;

function Where({ guest, of: { guests, wakes } }: { guest: Leaving; of: EmptyingView }) {
  const { way, target, targetCpuRatio, why } = guest;
  if (way === 'ha') return <>is moved by the hypervisor's own HA</>;
  if (way === 'leaving') return <>is on its way</>;
  if (target !== null) {
    const isLast = guests.findLast((other) => other.target === target) === guest;
    return (
      <>
        moves to <strong>{target}</strong>
        {isLast && targetCpuRatio !== null && `, cpu there then ${percent(targetCpuRatio)}`}
      </>
    );
  }
  if (wakes.length > 0)
    return (
      <>
        waits until {wakes.join(', ')} is awake: now it {why}
      </>
    );
  return <>stays: it {why}</>;
}

type Denials = NonNullable<EmptyingView['offDenials']>;

/** What the guards have against it, each with its way out. */
export const Denied = ({ by, says }: { by: Denials; says: string }) => (
  <span class="against">
    <span class="bad-text">{says}</span>{' '}
    {by.map(({ reason, wayOut }) => `${sentence(reason)} ${sentence(wayOut)}`).join(' ')}
  </span>
);

const isDenied = ({ denials = [] }: Leaving): boolean => denials.length > 0;
const same = (a: Denials = [], b: Denials = []): boolean => JSON.stringify(a) === JSON.stringify(b);

export function GuestsLeaving({ at, of }: { at: At; of: EmptyingView }) {
  const more = of.guests.length - shownMax;
  const asked = of.guests.filter(({ denials }) => denials !== undefined);
  const first = asked[0]?.denials ?? [];
  // What bars the cluster as a whole is said once.
  const isOfAll = asked.length > 1 && asked.every(({ denials }) => same(denials, first));
  return (
    <>
      <ul class="plain-list checks residents leaving" aria-label="Who goes where">
        {of.guests.slice(0, shownMax).map((guest) => (
          <li
            key={guest.id}
            data-state={guest.way === 'stays' || isDenied(guest) ? 'wrong' : 'note'}
          >
            <a href={`#/guests/${at.cluster}/${guest.id}`}>{guest.name}</a>{' '}
            <span class="faint">
              <Where guest={guest} of={of} />
            </span>
            {!isOfAll && isDenied(guest) && (
              <Denied by={guest.denials ?? []} says="Now the guards would refuse it:" />
            )}
          </li>
        ))}
        {more > 0 && <li data-state="note">{counted(more, 'more guest')}</li>}
      </ul>
      {isOfAll && first.length > 0 && (
        <p>
          <Denied by={first} says="Now the guards would refuse each of these moves:" />
        </p>
      )}
    </>
  );
}

/** Beside what the list of guests says already. */
export const InTheWay = ({ of: { inTheWay, guests } }: { of: EmptyingView }) => (
  <>
    {guests.every(({ way }) => way !== 'stays') &&
      inTheWay.map(({ reason, flip }) => (
        <p key={reason}>
          In the way: {reason}.{flip !== null && ` It goes on when ${flip}.`}
        </p>
      ))}
  </>
);
