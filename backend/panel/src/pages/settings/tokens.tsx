/** API tokens: made here, shown once, revoked at once. */
import { useState } from 'preact/hooks';
import type { TokenView } from '../../../../http/routes/tokens.ts';
import { call, type Page } from '../../api.ts';
import { moment } from '../../format.ts';
import { ask, Field } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';
import { me } from '../../session.ts';
import { ShownOnce } from './shown-once.tsx';
import { Table } from '../../parts/table.tsx';

const roles = ['viewer', 'operator', 'admin'] as const;
const dayMs = 86_400_000;

type Created = { token: string };

const askNew = (done: (created: Created) => void): void => {
  const highest = roles.indexOf(me.value?.role ?? 'viewer');
  ask({
    title: 'New API token',
    confirm: 'Make it',
    body: (
      <>
        <Field label="Name" hint="What uses it">
          <input name="name" required maxLength={128} autocomplete="off" />
        </Field>
        <Field label="Role">
          <select name="role">
            {roles.slice(0, highest + 1).map((role) => (
              <option key={role}>{role}</option>
            ))}
          </select>
        </Field>
        <Field label="Days until it ends" hint="Empty for never.">
          <input name="days" type="number" min={1} max={3_650} />
        </Field>
      </>
    ),
    run: async ({ name, role, days = '' }) => {
      const expires = days === '' ? {} : { expiresInMs: Number(days) * dayMs };
      done(await call<Created>('POST', 'tokens', { body: { name, role, ...expires } }));
    },
  });
};

const askRevoke = (token: TokenView, done: () => void): void =>
  ask({
    title: `Revoke ${token.name}`,
    confirm: 'Revoke',
    isDangerous: true,
    body: <p>Whatever uses it is refused from its next request on.</p>,
    run: async () => {
      await call('DELETE', `tokens/${token.id}`);
      toast(`${token.name} is worth nothing now.`, { kind: 'good' });
      done();
    },
  });

export function Tokens() {
  const tokens = useQuery<Page<TokenView>>('tokens?limit=500');
  const [created, setCreated] = useState<Created | null>(null);
  const done = (made: Created): void => {
    setCreated(made);
    tokens.reload();
  };
  return (
    <section aria-label="API tokens">
      <div class="heading">
        <h2>API tokens</h2>
        <span class="grow" />
        <button type="button" class="quiet" onClick={() => askNew(done)}>
          New token
        </button>
      </div>
      {created && <ShownOnce label="The token" hint="shown only now" text={created.token} />}
      <Answer of={tokens} what="tokens">
        {({ items }) =>
          items.length === 0 ? (
            <p class="state-note">No token yet.</p>
          ) : (
            <Table head={['Name', 'Role', 'Ends', '']}>
              {items.map((token) => (
                <tr key={token.id}>
                  <th scope="row">{token.name}</th>
                  <td>{token.role}</td>
                  <td class="nowrap">{token.expiresAt ? moment(token.expiresAt) : 'never'}</td>
                  <td class="number">
                    {token.revokedAt === null ? (
                      <button
                        type="button"
                        class="quiet small danger-text"
                        onClick={() => askRevoke(token, tokens.reload)}
                      >
                        Revoke
                      </button>
                    ) : (
                      <span class="faint">revoked {moment(token.revokedAt)}</span>
                    )}
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
