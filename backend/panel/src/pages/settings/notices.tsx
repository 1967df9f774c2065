/** What all channels obey, what was told, and what could not be delivered. */
import { useState } from 'preact/hooks';
import type { NotifySettings } from '../../../../notify/settings.ts';
import type { NoticeView } from '../../../../http/routes/notifications.ts';
import { call, type Problem, problemOf } from '../../api.ts';
import { counted, moment } from '../../format.ts';
import { Field } from '../../parts/dialog.tsx';
import { Answer, ProblemNote, toast } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';
import { useQuery } from '../../query.ts';
import { Channels } from './channels.tsx';
import { Rules, rulesOf } from './rules.tsx';

const ownZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

function settingsOf(form: FormData, before: NotifySettings): NotifySettings {
  const text = (name: string): string => {
    const value = form.get(name);
    return typeof value === 'string' ? value.trim() : '';
  };
  const zone = text('zone');
  const price = text('price');
  return {
    rules: rulesOf(form),
    quiet: form.has('isQuiet')
      ? { from: text('from'), to: text('to'), zone, isStrict: form.has('isStrict') }
      : null,
    morning: form.has('hasMorning')
      ? {
          at: text('morning'),
          zone,
          pricePerKwh: price === '' ? null : Number(price),
          currency: text('currency') || 'EUR',
        }
      : null,
    deadMan:
      text('deadMan') === ''
        ? null
        : { url: text('deadMan'), everyMs: before.deadMan?.everyMs ?? 300_000 },
  };
}

const Hours = ({ name, label, value }: { name: string; label: string; value: string }) => (
  <Field label={label}>
    <input name={name} type="time" required defaultValue={value} />
  </Field>
);

const Quiet = ({ quiet }: Pick<NotifySettings, 'quiet'>) => (
  <fieldset class="card pad">
    <legend>Quiet hours</legend>
    <label class="check">
      <input name="isQuiet" type="checkbox" defaultChecked={quiet !== null} /> Nothing is sent
      between, recoveries neither
    </label>
    <div class="pair">
      <Hours name="from" label="From" value={quiet?.from ?? '22:00'} />
      <Hours name="to" label="To" value={quiet?.to ?? '07:00'} />
    </div>
    <label class="check">
      <input name="isStrict" type="checkbox" defaultChecked={quiet?.isStrict ?? false} /> Even what
      is critical waits
    </label>
  </fieldset>
);

const Morning = ({ morning }: Pick<NotifySettings, 'morning'>) => (
  <fieldset class="card pad">
    <legend>Morning line</legend>
    <label class="check">
      <input name="hasMorning" type="checkbox" defaultChecked={morning !== null} /> What the night
      saved, in one line
    </label>
    <div class="pair">
      <Hours name="morning" label="At" value={morning?.at ?? '08:00'} />
      <Field label="Price of a kWh">
        <input
          name="price"
          type="number"
          min={0}
          step="any"
          defaultValue={morning?.pricePerKwh ?? ''}
        />
      </Field>
      <Field label="Currency">
        <input name="currency" maxLength={8} defaultValue={morning?.currency ?? 'EUR'} />
      </Field>
    </div>
  </fieldset>
);

const Elsewhere = ({ of }: { of: NotifySettings }) => (
  <fieldset class="card pad">
    <legend>Clock and watchdog</legend>
    <Field label="Zone of these hours">
      <input
        name="zone"
        required
        autocomplete="off"
        defaultValue={
          of.quiet?.zone ?? (of.morning && of.morning.zone !== 'UTC' ? of.morning.zone : ownZone())
        }
      />
    </Field>
    <Field
      label="Dead-man address"
      hint="Called every five minutes while all is well, such as a check of healthchecks.io"
    >
      <input name="deadMan" type="url" autocomplete="off" defaultValue={of.deadMan?.url ?? ''} />
    </Field>
  </fieldset>
);

function SettingsForm({ settings, reload }: { settings: NotifySettings; reload: () => void }) {
  const [problem, setProblem] = useState<Problem>();
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const body = settingsOf(new FormData(event.currentTarget as HTMLFormElement), settings);
    try {
      await call('PUT', 'notifications/settings', { body });
      setProblem(undefined);
      toast('Kept.', { kind: 'good' });
      reload();
    } catch (error) {
      setProblem(problemOf(error));
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <Rules of={settings.rules} />
      <div class="sets">
        <Quiet quiet={settings.quiet} />
        <Morning morning={settings.morning} />
        <Elsewhere of={settings} />
      </div>
      {problem && <ProblemNote problem={problem} />}
      <div class="buttons start">
        <button type="submit">Keep</button>
      </div>
    </form>
  );
}

const tones = { info: 'faint', warning: 'warn-text', critical: 'bad-text' } as const;

const Told = ({ items }: { items: readonly NoticeView[] }) => (
  <Table head={['When', 'What', '', 'Over']}>
    {items.map((notice) => (
      <tr key={notice.id}>
        <td class="nowrap">{moment(notice.openedAt)}</td>
        <td class="wrap">
          <strong>{notice.title}</strong> <span class="faint">{notice.cluster}</span>
          <br />
          {notice.text}
        </td>
        <td class={tones[notice.severity]}>{notice.severity}</td>
        <td class="nowrap">
          {notice.resolvedAt ? moment(notice.resolvedAt) : notice.isOpen ? 'not yet' : ''}
        </td>
      </tr>
    ))}
  </Table>
);

type Dead = {
  id: string;
  title: string;
  channel: string | null;
  attempts: number;
  problem: string | null;
  createdAt: string;
};

async function retry(id: string, reload: () => void): Promise<void> {
  try {
    await call('POST', `notifications/dead/${id}/retry`);
    toast('It is tried again.', { kind: 'good' });
    reload();
  } catch (error) {
    toast(problemOf(error).detail, { kind: 'bad' });
  }
}

function Undelivered() {
  const dead = useQuery<{ items: Dead[] }>('notifications/dead', { everyMs: 15_000 });
  return (
    <section aria-label="Not delivered">
      <h2>Not delivered</h2>
      <Answer of={dead} what="what was not delivered">
        {({ items }) =>
          items.length === 0 ? (
            <p class="state-note">Nothing: whatever was sent arrived.</p>
          ) : (
            <Table head={['When', 'What', 'Channel', 'Why', '']}>
              {items.map((one) => (
                <tr key={one.id}>
                  <td class="nowrap">{moment(one.createdAt)}</td>
                  <th scope="row">{one.title}</th>
                  <td>{one.channel ?? 'removed'}</td>
                  <td class="wrap">
                    {one.problem} <span class="faint">{counted(one.attempts, 'attempt')}</span>
                  </td>
                  <td class="number">
                    <button
                      type="button"
                      class="quiet small"
                      onClick={() => void retry(one.id, dead.reload)}
                    >
                      Try again
                    </button>
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
    </section>
  );
}

export function Notices() {
  const settings = useQuery<NotifySettings>('notifications/settings');
  const history = useQuery<{ items: NoticeView[] }>('notifications', { everyMs: 15_000 });
  return (
    <>
      <Channels />
      <section aria-label="For all channels">
        <h2>For all channels</h2>
        <Answer of={settings} what="settings">
          {(data) => <SettingsForm settings={data} reload={settings.reload} />}
        </Answer>
      </section>
      <section aria-label="What was told">
        <h2>What was told</h2>
        <Answer of={history} what="notices">
          {({ items }) =>
            items.length === 0 ? (
              <p class="state-note">Nothing yet: nothing had to be told.</p>
            ) : (
              <Told items={items} />
            )
          }
        </Answer>
      </section>
      <Undelivered />
    </>
  );
}
