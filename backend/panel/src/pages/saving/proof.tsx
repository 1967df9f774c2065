/**
 * The guided proof: begun with a typed word, watched cycle by cycle with what each measured, ended
 * when somebody wishes.
 */
import type { PowerSaving } from '../../../../http/routes/power-saving.ts';
import type { Standing } from '../../../../http/routes/wake-proofs.ts';
import { call } from '../../api.ts';
import { counted, duration, moment, watts } from '../../format.ts';
import { ask, PasswordAgain, TypedWord } from '../../parts/dialog.tsx';
import { toast } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';

export type At = { cluster: string; node: string };
type Cycle = PowerSaving['cycles'][number];

const cycles = 3;

export function askProof({ cluster, node }: At, done: () => void): void {
  ask({
    title: `Prove that ${node} comes back`,
    confirm: 'Begin',
    isDangerous: true,
    body: (
      <>
        <p>
          {node} is switched off and woken {cycles} times while you stand by. It is refused when a
          guest would be lost; you may end it at any time, and the node is woken all the same.
        </p>
        <TypedWord word={node} />
        <PasswordAgain />
      </>
    ),
    run: async ({ confirm, password = '' }) => {
      await call('POST', `clusters/${cluster}/nodes/${node}/wake-proofs`, {
        body: { cycles, confirm, ...(password !== '' && { password }) },
      });
      done();
    },
  });
}

async function endProof({ cluster, node }: At, done: () => void): Promise<void> {
  await call('DELETE', `clusters/${cluster}/nodes/${node}/wake-proofs`);
  toast(`${node} is not switched off again, and woken if it sleeps.`);
  done();
}

const phases: Record<string, string> = {
  off: 'switching it off',
  wake: 'waking it',
  rejoin: 'waiting until it is whole again',
};

export const drawnText = ({ watts: value, isEstimated }: Pick<Cycle, 'watts' | 'isEstimated'>) =>
  value === null ? null : `${isEstimated ? '≈ ' : ''}${watts(value)}`;

/** `boot 68 s, 11 W before` of what was measured of a cycle. */
const measuredOf = (cycle: Cycle | undefined): string =>
  [
    cycle?.bootMs ? `back after ${duration(cycle.bootMs)}` : '',
    cycle && drawnText(cycle) ? `${drawnText(cycle)} before` : '',
  ]
    .filter(Boolean)
    .join(', ');

type Campaign = NonNullable<Standing['campaign']>;

function Running({
  campaign,
  measured,
  onEnd,
}: {
  campaign: Campaign;
  measured: readonly Cycle[];
  onEnd: () => void;
}) {
  const own = measured.filter(({ at }) => at >= campaign.startedAt).toReversed();
  return (
    <>
      <ol class="cycles" aria-label="Cycles">
        {Array.from({ length: campaign.cycles }, (_, index) => {
          const state =
            index < campaign.proven ? 'done' : index === campaign.proven ? 'now' : 'later';
          const words = { done: 'came back', now: phases[campaign.phase], later: 'to come' };
          return (
            <li key={index} data-state={state}>
              {words[state]}
              {state === 'done' && <span class="faint"> {measuredOf(own[index])}</span>}
            </li>
          );
        })}
      </ol>
      <p role="status">
        {campaign.proven} of {campaign.cycles} shown. {campaign.why}
      </p>
      <button type="button" class="quiet" onClick={onEnd}>
        End it
      </button>
    </>
  );
}

const Measured = ({ of }: { of: readonly Cycle[] }) => (
  <Table head={['Cycle', 'Came back', { number: 'After' }, { number: 'Drew before' }]}>
    {of.map((cycle) => (
      <tr key={cycle.at}>
        <th scope="row" class="nowrap">
          {moment(cycle.at)}
        </th>
        <td class={cycle.succeeded ? 'good-text' : 'bad-text'}>{cycle.succeeded ? 'yes' : 'no'}</td>
        <td class="number">{cycle.bootMs === null ? '' : duration(cycle.bootMs)}</td>
        <td class="number">{drawnText(cycle) ?? 'not measured'}</td>
      </tr>
    ))}
  </Table>
);

export function Proof({
  at,
  standing,
  measured,
  reload,
}: {
  at: At;
  standing: Standing;
  measured: PowerSaving['cycles'];
  reload: () => void;
}) {
  const { campaign, proofs, isProven } = standing;
  if (campaign?.state === 'running') {
    const onEnd = (): void => void endProof(at, reload);
    return <Running campaign={campaign} measured={measured} onEnd={onEnd} />;
  }
  const best = proofs.find(({ isProof }) => isProof) ?? proofs[0];
  return (
    <>
      {isProven && best && (
        <p>
          It came back {counted(best.succeeded, 'time')}
          {best.bootMs !== null && (
            <>
              , awake after <strong>{duration(best.bootMs)}</strong>
            </>
          )}
          . The proof counts for 30 days.
        </p>
      )}
      {campaign && campaign.state !== 'succeeded' && (
        <p class="bad-text">
          The last try was {campaign.state}: {campaign.why}
        </p>
      )}
      {measured.length > 0 && <Measured of={measured.slice(0, cycles)} />}
    </>
  );
}
