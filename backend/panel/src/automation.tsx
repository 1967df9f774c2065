/**
 * Whether automation leaves a node or guest alone: until when, who did what for it, and the ways
 * to end, prolong or begin that. It never says what the server has not said.
 */
import { useEffect } from 'preact/hooks';
import type { Automation } from '../../http/routes/automation.ts';
import { call } from './api.ts';
import { clock } from './format.ts';
import { lastCommand } from './live.ts';
import { ask, Field } from './parts/dialog.tsx';
import { toast } from './parts/feedback.tsx';
import { useQuery } from './query.ts';
import { mayAct, me } from './session.ts';

type Of = { cluster: string; kind: 'node' | 'guest'; id: string; name: string };

/** What somebody did, said of the thing itself. */
const deeds: Record<string, string> = {
  'guest.create': 'made it',
  'guest.start': 'started it',
  'guest.stop': 'stopped it',
  'guest.restart': 'restarted it',
  'guest.snapshot': 'took a snapshot of it',
  'guest.migrate': 'moved it',
  'guest.scale': 'scaled it',
  'node.shutdown': 'put it to sleep',
  'node.wake': 'woke it',
  'node.reboot': 'restarted it',
  'node.drain': 'drained it',
  'node.restore': 'restored it',
};

function nameOf(actor: string | null): string {
  const username = actor?.replace(/^account:/, '');
  if (username !== undefined && username === me.value?.username) return 'you';
  if (actor === 'local') return 'somebody at the server itself';
  if (actor?.startsWith('token:')) return 'an API token';
  return username ?? 'somebody';
}

function whyOf({ by, because }: NonNullable<Automation['paused']>): string {
  if (because === null) return `${nameOf(by)} asked for it`;
  return `${nameOf(by)} ${deeds[because.kind] ?? `sent ${because.kind}`}`;
}

const hourMs = 3_600_000;
const spans: readonly (readonly [string, number])[] = [
  ['1 hour', hourMs],
  ['4 hours', 4 * hourMs],
  ['12 hours', 12 * hourMs],
  ['1 day', 24 * hourMs],
  ['1 week', 7 * 24 * hourMs],
];

type HowLong = { title: string; confirm: string; says: string; run: Change };
type Change = (forMs: number | null, reason?: string) => Promise<void>;

const askHowLong = ({ title, confirm, says, run }: HowLong): void =>
  ask({
    title,
    confirm,
    body: (
      <>
        <p>{says}</p>
        <Field label="For, from now on">
          <select name="forMs">
            {spans.map(([text, ms]) => (
              <option key={ms} value={ms} selected={ms === 4 * hourMs}>
                {text}
              </option>
            ))}
          </select>
        </Field>
        <Field label="Reason (optional)">
          <input name="reason" maxLength={512} autocomplete="off" />
        </Field>
      </>
    ),
    run: ({ forMs, reason }) => run(Number(forMs), reason),
  });

/** Ends something at once, without a dialog: it only gives automation its usual way. */
const Ending = ({ text, run }: { text: string; run: Change }) => (
  <button
    type="button"
    class="quiet small"
    onClick={() =>
      void run(null).catch((error: unknown) =>
        toast(error instanceof Error ? error.message : String(error)),
      )
    }
  >
    {text}
  </button>
);

function Pause({ of, paused, run }: { of: Of; paused: Automation['paused']; run: Change }) {
  const snooze = (
    <button
      type="button"
      class="quiet small"
      onClick={() =>
        askHowLong({
          title: `Pause automation of ${of.name}`,
          confirm: paused ? 'Snooze' : 'Pause',
          says: `Automation neither moves, scales, sleeps nor wakes ${of.name} meanwhile. What people send still counts.`,
          run,
        })
      }
    >
      {paused ? 'Snooze' : 'Pause automation'}
    </button>
  );
  if (!paused) return mayAct.value ? snooze : null;
  return (
    <p class="notice plain automation" role="status">
      <span>
        Automation paused until <time dateTime={paused.until}>{clock(paused.until)}</time>, because{' '}
        {whyOf(paused)}.
      </span>
      {mayAct.value && (
        <>
          <Ending text="Resume" run={run} /> {snooze}
        </>
      )}
    </p>
  );
}

function Awake({ of, until, run }: { of: Of; until: string | null; run: Change }) {
  if (until === null) {
    if (!mayAct.value) return null;
    return (
      <button
        type="button"
        class="quiet small"
        onClick={() =>
          askHowLong({
            title: `Keep ${of.name} awake`,
            confirm: 'Keep awake',
            says: `Automation does not put ${of.name} to sleep meanwhile, whatever that would save.`,
            run,
          })
        }
      >
        Keep awake
      </button>
    );
  }
  return (
    <p class="notice plain automation" role="status">
      <span>
        Stays awake until <time dateTime={until}>{clock(until)}</time>.
      </span>
      {mayAct.value && <Ending text="It may sleep again" run={run} />}
    </p>
  );
}

export function AutomationOf({ of }: { of: Of }) {
  const path = `clusters/${of.cluster}/${of.kind}s/${of.id}`;
  const standing = useQuery<Automation>(`${path}/automation`, { everyMs: 15_000 });
  const { reload, data } = standing;
  // Whatever a person sends pauses automation of its target.
  const news = lastCommand.value;
  useEffect(() => void (news?.cluster === of.cluster && reload()), [news, of.cluster, reload]);
  if (!data) return null;
  const put = async (what: string, body: object, reason = ''): Promise<void> => {
    await call('PUT', `${path}/${what}`, { body: { ...body, ...(reason && { reason }) } });
    reload();
  };
  return (
    <div class="buttons start">
      <Pause
        of={of}
        paused={data.paused}
        run={(pauseForMs, reason) => put('automation', { pauseForMs }, reason)}
      />
      {of.kind === 'node' && (
        <Awake
          of={of}
          until={data.keptAwakeUntil}
          run={(forMs, reason) => put('keep-awake', { forMs }, reason)}
        />
      )}
    </div>
  );
}
