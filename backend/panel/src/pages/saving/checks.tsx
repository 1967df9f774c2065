/**
 * What must be true before a node may sleep: every rule that the server would ask now, in words,
 * with the numbers it looked at and the way out. What only a person can see, the firmware's own
 * switch, stands first.
 */
import type { Rehearsed } from '../../../../http/routes/rehearsal.ts';
import type { Standing } from '../../../../http/routes/wake-proofs.ts';
import { call } from '../../api.ts';
import { sentence } from '../../format.ts';
import { ask, TypedWord } from '../../parts/dialog.tsx';
import { isAdmin } from '../../session.ts';
import type { At } from './proof.tsx';

type Check = Rehearsed['checks'][number];

/** In the order in which they are told; a rule that is not named here is told when it denies. */
const titles: Record<string, string> = {
  'own-house': 'Kernreaktor itself does not live here',
  protected: 'It is not protected',
  roles: 'Nobody else depends on it',
  quorum: 'The cluster keeps its quorum',
  'quorum-spare': 'One node more may fail then',
  'two-nodes': 'It is not one of only two votes',
  ha: 'High availability lets it go',
  ceph: 'Ceph can do without it',
  replication: 'No replication needs it',
  'empty-node': 'No guest would be lost',
  'memory-reserve': 'The rest carries its load, and one failure more',
  'wake-path': 'Another node can wake it',
  wakeable: 'It can be woken',
  'wake-proof': 'It came back every time',
  'wake-table': 'Others would wake it without this server',
  'node-busy': 'Nothing is at work on it',
  idle: 'It was idle for the last hour',
};
/** What the guided proof itself will show. */
const shownLater = new Set(['wake-proof', 'wake-table', 'idle']);

/** The numbers that a rule is about, in words. */
const words: Record<string, Record<string, string>> = {
  quorum: {
    expectedVotes: 'votes in all',
    quorumVotes: 'are needed',
    remainingVotes: 'are left without it',
  },
  'quorum-spare': { worstVotes: 'left then', quorumVotes: 'are needed' },
  'empty-node': { runningGuests: 'run here' },
};

/** `3 votes in all, 2 are needed, 2 are left without it`. */
const arithmetic = ({ rule, facts }: Check): string =>
  Object.entries(words[rule] ?? {})
    .flatMap(([name, says]) => {
      const value = facts.find((fact) => fact.name === name)?.value ?? null;
      return value === null ? [] : [`${String(value)} ${says}`];
    })
    .join(', ');

/** A simulated cluster need not show that its nodes wake; that is no sign that one did. */
const isAssumed = ({ rule, facts, denial }: Check): boolean =>
  rule === 'wake-proof' &&
  denial === null &&
  facts.some(({ name, value }) => name === 'wakeProof' && value === 'assumed');

const stateOf = (check: Check): string =>
  isAssumed(check)
    ? 'note'
    : check.denial === null
      ? 'fine'
      : shownLater.has(check.rule)
        ? 'note'
        : 'wrong';

/** Votes to spare are a matter of taste once the quorum itself is kept: an administrator may do without. */
const ofSpareVotes = new Set(['KR_QUORUM_SPARE', 'KR_QDEVICE']);

const askSpare = ({ cluster }: At, reason: string, done: () => void): void =>
  ask({
    title: `${cluster} keeps no vote to spare`,
    confirm: 'I answer for it',
    isDangerous: true,
    body: (
      <>
        <p>
          {sentence(reason)} While a node of {cluster} sleeps, the loss of one more stops what runs
          on the others until somebody wakes it. The quorum itself is never given up.
        </p>
        <TypedWord word={cluster} />
      </>
    ),
    run: async ({ confirm = '' }) => {
      await call('PATCH', `clusters/${cluster}`, { body: { limits: { spareVoters: 0 }, confirm } });
      done();
    },
  });

const Line = ({ check, at, reload }: { check: Check; at: At; reload: () => void }) => {
  const sum = arithmetic(check);
  return (
    <li data-state={stateOf(check)}>
      <strong>
        {isAssumed(check)
          ? 'That it wakes is taken for granted'
          : (titles[check.rule] ?? check.rule.replaceAll('-', ' '))}
      </strong>
      {isAssumed(check) && <span class="faint"> in a simulated cluster</span>}
      {sum !== '' && <span class="faint"> {sum}</span>}
      {check.denial && (
        <p class={shownLater.has(check.rule) ? 'faint' : ''}>
          {sentence(check.denial.reason)} {sentence(check.denial.wayOut)}
        </p>
      )}
      {check.denial && ofSpareVotes.has(check.denial.code) && isAdmin.value && (
        <button
          type="button"
          class="quiet small"
          onClick={() => askSpare(at, check.denial?.reason ?? '', reload)}
        >
          Do without …
        </button>
      )}
    </li>
  );
};

const order = Object.keys(titles);
const isTold = ({ rule, denial }: Check): boolean => denial !== null || rule in titles;
const place = ({ rule }: Check): number => (order.indexOf(rule) + order.length) % order.length;

/** Whether nothing but what the proof will show stands against it. */
export const mayProve = (checks: readonly Check[]): boolean =>
  checks.every((check) => stateOf(check) !== 'wrong');

type Props = {
  checks: readonly Check[];
  ways: Standing['ways'];
  at: At;
  reload: () => void;
};

export const Checks = ({ checks, ways, at, reload }: Props) => (
  <ul class="plain-list checks">
    <li data-state="note">
      <strong>Its firmware lets it be woken</strong>
      <p class="faint">
        Look once into the BIOS: Wake on LAN on, “deep sleep” or ErP off. Nobody can see that from
        here; the proof below will.
      </p>
    </li>
    <li data-state={ways.length > 0 ? 'fine' : 'wrong'}>
      <strong>Who wakes it</strong>{' '}
      <span class="faint">
        {ways.length > 0
          ? ways.map(({ executor, by }) => `${executor} by ${by}`).join(', ')
          : 'no other node says that it could'}
      </span>
    </li>
    {checks
      .filter(isTold)
      .toSorted((a, b) => place(a) - place(b))
      .map((check) => (
        <Line key={check.rule} check={check} at={at} reload={reload} />
      ))}
  </ul>
);
