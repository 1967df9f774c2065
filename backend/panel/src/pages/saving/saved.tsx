/** What its sleep has saved, by what was measured; before the first sleep, what it would save. */
import type { PowerSaving } from '../../../../http/routes/power-saving.ts';
import { counted, duration, moment, watts } from '../../format.ts';
import { Figure } from '../../parts/figures.tsx';
import { drawnText } from './proof.tsx';

const hoursPerNight = 8;
const dayMs = 86_400_000;
const monthMs = 30 * dayMs;

type Saved = NonNullable<PowerSaving['saved']>;

/** Small savings are told as small ones, not as 0.0. */
const energy = (kwh: number): string =>
  kwh < 0.1 ? `${(kwh * 1_000).toFixed(kwh < 0.01 ? 1 : 0)} Wh` : `${kwh.toFixed(2)} kWh`;

const perMonth = ({ kwh, since }: Saved): number | null => {
  const sinceMs = Date.now() - Date.parse(since);
  return kwh === null || sinceMs < dayMs ? null : (kwh * monthMs) / Math.min(sinceMs, monthMs);
};

const Card = ({ saved, node }: { saved: Saved; node: string }) => {
  const { kwh, money, currency, sleeps, sleptMs, isAsleep, since } = saved;
  const month = perMonth(saved);
  return (
    <div class="saved" role="status">
      <p class="saved-sum">
        {kwh === null ? duration(sleptMs) : energy(kwh)}
        <span>
          {kwh === null ? ' asleep' : ' saved'}
          {money !== null && `, ${money.toFixed(2)} ${currency}`}
        </span>
      </p>
      <dl class="figures">
        <Figure label="Slept" hint={isAsleep ? 'and still sleeps' : `since ${moment(since)}`}>
          {duration(sleptMs)}
        </Figure>
        <Figure label="Sleeps">{sleeps}</Figure>
        <Figure label="Drew before" hint={saved.isEstimated ? 'estimated' : 'measured'}>
          {drawnText(saved) ?? 'not measured'}
        </Figure>
        {month !== null && <Figure label="A month like this">{energy(month)}</Figure>}
      </dl>
      <p class="faint">
        {kwh === null
          ? `Nobody measures what ${node} draws, so that only its hours are known.`
          : `${counted(sleeps, 'sleep')} at what it drew in the minutes before. Its proofs do not count.`}
      </p>
    </div>
  );
};

type Props = { node: string; saved: PowerSaving['saved']; idleWatts: number | null };

export function Saving({ node, saved, idleWatts }: Props) {
  if (saved !== null) return <Card saved={saved} node={node} />;
  if (idleWatts === null) {
    return (
      <p class="faint">
        Nobody measures what it draws. A plug or the processor’s counters would tell: see the page
        on power.
      </p>
    );
  }
  const monthly = (idleWatts * hoursPerNight * 30) / 1_000;
  return (
    <p>
      At {watts(idleWatts)} idle, {hoursPerNight} hours a night are{' '}
      <strong>{monthly.toFixed(1)} kWh a month</strong>. What it really saves stands here from the
      first sleep on.
    </p>
  );
}
