/** Channels of notices: each with its own fields, a test, and a fallback. Secrets only go in. */
import type { ChannelView } from '../../../../http/routes/notification-channels.ts';
import { call, problemOf } from '../../api.ts';
import { ask, Field, type Values } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';
import { type Query, useQuery } from '../../query.ts';

type Kind = ChannelView['target']['kind'];
type FieldOf = {
  name: string;
  label: string;
  hint?: string;
  type?: 'url' | 'password' | 'number' | 'text';
  isOptional?: boolean;
  first?: string;
};

const url: FieldOf = { name: 'url', label: 'Address', type: 'url' };
const secret = (name: string, label: string, hint: string): FieldOf => ({
  name,
  label,
  hint,
  type: 'password',
  isOptional: true,
});

const fieldsOf: Record<Kind, readonly FieldOf[]> = {
  ntfy: [
    { ...url, hint: 'The server, without the topic', first: 'https://ntfy.sh' },
    { name: 'topic', label: 'Topic', hint: 'On a public server, one that nobody guesses' },
    secret('token', 'Access token', 'Where the server wants one'),
  ],
  gotify: [url, secret('token', 'Token of the application', '')],
  discord: [secret('webhookUrl', 'Webhook address', 'Who knows it may post')],
  email: [
    { name: 'host', label: 'Mail server' },
    { name: 'port', label: 'Port', type: 'number', first: '587' },
    { name: 'user', label: 'User', isOptional: true },
    secret('password', 'Password', ''),
    { name: 'from', label: 'From' },
    { name: 'to', label: 'To', hint: 'Separated by commas' },
  ],
  apprise: [
    { ...url, hint: 'Such as https://host/notify/key' },
    { name: 'tag', label: 'Tag', isOptional: true },
  ],
  webhook: [url, secret('secret', 'Secret', 'whsec_ and base64; signs every message')],
};
const kinds = Object.keys(fieldsOf) as Kind[];

/** Secrets that are left empty are left out, which keeps what was set before. */
function targetOf(kind: Kind, values: Values): object {
  const told = fieldsOf[kind].flatMap(({ name, type }): [string, unknown][] => {
    const value = values[name] ?? '';
    if (value === '') return [];
    if (name === 'to') return [[name, value.split(/[\s,]+/).filter((one) => one !== '')]];
    return [[name, type === 'number' ? Number(value) : value]];
  });
  const tls = kind === 'email' ? { tls: values['tls'] } : {};
  return { kind, ...Object.fromEntries(told), ...tls };
}

const valueIn = (target: ChannelView['target'] | undefined, field: FieldOf): string => {
  const value = (target as Record<string, unknown> | undefined)?.[field.name];
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  return target === undefined ? (field.first ?? '') : '';
};

const encryptions = {
  starttls: 'STARTTLS',
  implicit: 'TLS from the start',
  none: 'none, to a mail server of this machine',
};

const Tls = ({ value }: { value: string }) => (
  <Field label="Encryption">
    <select name="tls">
      {Object.entries(encryptions).map(([tls, says]) => (
        <option key={tls} value={tls} selected={tls === value}>
          {says}
        </option>
      ))}
    </select>
  </Field>
);

const TargetField = ({ field, known }: { field: FieldOf; known: ChannelView | undefined }) => {
  const { name, label, hint, type = 'text', isOptional = false } = field;
  const isKept = type === 'password' && known?.hasSecret === true;
  const shownHint = isKept ? 'Empty keeps what is set.' : hint;
  return (
    <Field label={label} {...(shownHint ? { hint: shownHint } : {})}>
      <input
        name={name}
        type={type}
        required={!isOptional}
        autocomplete={type === 'password' ? 'new-password' : 'off'}
        defaultValue={valueIn(known?.target, field)}
      />
    </Field>
  );
};

type Editing = { kind: Kind; known?: ChannelView; others: ChannelView[]; done: () => void };

const askChannel = ({ kind, known, others, done }: Editing): void =>
  ask({
    title: known ? `Change ${known.name}` : `New channel: ${kind}`,
    confirm: known ? 'Change' : 'Add',
    body: (
      <>
        <Field label="Name">
          <input
            name="name"
            required
            maxLength={64}
            autocomplete="off"
            defaultValue={known?.name ?? kind}
          />
        </Field>
        {fieldsOf[kind].map((field) => (
          <TargetField key={field.name} field={field} known={known} />
        ))}
        {kind === 'email' && (
          <Tls value={known?.target.kind === 'email' ? known.target.tls : 'starttls'} />
        )}
        <Field label="Fallback" hint="Told after three failures of this one">
          <select name="fallbackId">
            <option value="">none</option>
            {others.map(({ id, name }) => (
              <option key={id} value={id} selected={id === known?.fallbackId}>
                {name}
              </option>
            ))}
          </select>
        </Field>
        <label class="check">
          <input name="enabled" type="checkbox" defaultChecked={known?.enabled ?? true} /> Used
        </label>
      </>
    ),
    run: async (values) => {
      const { name, enabled, fallbackId = '' } = values;
      const path = known ? `notifications/channels/${known.id}` : 'notifications/channels';
      await call(known ? 'PUT' : 'POST', path, {
        body: {
          name,
          target: targetOf(kind, values),
          enabled: enabled === 'on',
          fallbackId: fallbackId === '' ? null : fallbackId,
        },
      });
      toast(`${name} is kept. Test it.`, { kind: 'good' });
      done();
    },
  });

const askRemove = ({ id, name }: ChannelView, done: () => void): void =>
  ask({
    title: `Remove ${name}`,
    confirm: 'Remove',
    isDangerous: true,
    body: <p>It and its secret are forgotten; nothing is sent there from now on.</p>,
    run: async () => {
      await call('DELETE', `notifications/channels/${id}`);
      toast(`${name} is removed.`, { kind: 'good' });
      done();
    },
  });

async function test({ id, name }: ChannelView): Promise<void> {
  try {
    await call('POST', `notifications/channels/${id}/test`);
    toast(`${name} took the test message.`, { kind: 'good' });
  } catch (error) {
    const { detail, wayOut = '' } = problemOf(error);
    toast(`${name}: ${detail} ${wayOut}`, { kind: 'bad' });
  }
}

const where = ({ target }: ChannelView): string => {
  if (target.kind === 'ntfy') return `${target.url}/${target.topic}`;
  if (target.kind === 'email') return `${target.to.join(', ')} by ${target.host}`;
  return 'url' in target ? target.url : 'its webhook';
};

const Row = ({ channel, of }: { channel: ChannelView; of: Query<{ items: ChannelView[] }> }) => {
  const others = (of.data?.items ?? []).filter(({ id }) => id !== channel.id);
  const { kind } = channel.target;
  return (
    <tr>
      <th scope="row">
        {channel.name} <small class="tag">{kind}</small>
        {!channel.enabled && <small class="tag">not used</small>}
      </th>
      <td class="wrap">{where(channel)}</td>
      <td>{others.find(({ id }) => id === channel.fallbackId)?.name ?? ''}</td>
      <td class="number">
        <span class="row-buttons">
          <button type="button" class="quiet small" onClick={() => void test(channel)}>
            Test
          </button>
          <button
            type="button"
            class="quiet small"
            onClick={() => askChannel({ kind, known: channel, others, done: of.reload })}
          >
            Change
          </button>
          <button
            type="button"
            class="quiet small danger-text"
            onClick={() => askRemove(channel, of.reload)}
          >
            Remove
          </button>
        </span>
      </td>
    </tr>
  );
};

export function Channels() {
  const channels = useQuery<{ items: ChannelView[] }>('notifications/channels');
  const others = channels.data?.items ?? [];
  return (
    <section aria-label="Channels">
      <div class="heading">
        <h2>Channels</h2>
        <span class="grow" />
        <select
          aria-label="Add a channel"
          value=""
          onChange={(event) => {
            const kind = kinds.find((one) => one === event.currentTarget.value);
            event.currentTarget.value = '';
            if (kind) askChannel({ kind, others, done: channels.reload });
          }}
        >
          <option value="">Add a channel …</option>
          {kinds.map((kind) => (
            <option key={kind}>{kind}</option>
          ))}
        </select>
      </div>
      <Answer of={channels} what="channels">
        {({ items }) =>
          items.length === 0 ? (
            <p class="state-note">
              No channel yet: nobody is told anything. Add one and send it a test.
            </p>
          ) : (
            <Table head={['Channel', 'To', 'Fallback', '']}>
              {items.map((channel) => (
                <Row key={channel.id} channel={channel} of={channels} />
              ))}
            </Table>
          )
        }
      </Answer>
    </section>
  );
}
