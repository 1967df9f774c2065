/** Accounts and their roles; an administrator of everything always remains. */
import type { UserView } from '../../../../http/routes/users.ts';
import { call, type Page } from '../../api.ts';
import { moment } from '../../format.ts';
import { ask, Field, type Values } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';
import { Table } from '../../parts/table.tsx';

const roles = ['viewer', 'operator', 'admin'] as const;

const clustersOf = (text = ''): string[] | null => {
  const names = text.split(/[\s,]+/).filter((name) => name !== '');
  return names.length === 0 ? null : names;
};

const RoleAndClusters = ({ user }: { user?: UserView }) => (
  <>
    <Field
      label="Role"
      hint="A viewer looks, an operator asks for commands, an administrator does everything."
    >
      <select name="role">
        {roles.map((role) => (
          <option key={role} selected={role === (user?.role ?? 'viewer')}>
            {role}
          </option>
        ))}
      </select>
    </Field>
    <Field label="Clusters" hint="Separated by commas; empty for every one.">
      <input name="clusters" autocomplete="off" defaultValue={user?.clusters?.join(', ') ?? ''} />
    </Field>
  </>
);

const askNew = (done: () => void): void =>
  ask({
    title: 'New account',
    confirm: 'Create it',
    body: (
      <>
        <Field label="User name">
          <input name="username" required autocomplete="off" autocapitalize="none" />
        </Field>
        <Field label="Password, at least 12 characters">
          <input
            name="password"
            type="password"
            required
            minLength={12}
            autocomplete="new-password"
          />
        </Field>
        <RoleAndClusters />
      </>
    ),
    run: async ({ username, password, role, clusters }: Values) => {
      const body = { username, password, role, clusters: clustersOf(clusters) };
      await call('POST', 'users', { body });
      toast(`${username} may sign in now.`, { kind: 'good' });
      done();
    },
  });

const askChange = (user: UserView, done: () => void): void =>
  ask({
    title: `Change ${user.username}`,
    confirm: 'Change',
    body: (
      <>
        <p class="faint">Sessions end where rights become fewer.</p>
        <RoleAndClusters user={user} />
        <Field label="New password" hint="Empty leaves the old one.">
          <input name="password" type="password" minLength={12} autocomplete="new-password" />
        </Field>
        <label class="check">
          <input name="disabled" type="checkbox" defaultChecked={user.disabled} /> Locked out
        </label>
        {user.hasSecondFactor && (
          <label class="check">
            <input name="loseFactor" type="checkbox" /> Second factor off, for who has lost the app
          </label>
        )}
      </>
    ),
    run: async ({ role, clusters, password = '', disabled, loseFactor }) => {
      await call('PATCH', `users/${user.id}`, {
        body: {
          role,
          clusters: clustersOf(clusters),
          disabled: disabled === 'on',
          ...(loseFactor === 'on' ? { secondFactor: 'off' } : {}),
          ...(password === '' ? {} : { password }),
        },
      });
      toast(`${user.username} is changed.`, { kind: 'good' });
      done();
    },
  });

export function Accounts() {
  const users = useQuery<Page<UserView>>('users?limit=500');
  return (
    <section aria-label="Accounts">
      <div class="heading">
        <h2>Accounts</h2>
        <span class="grow" />
        <button type="button" class="quiet" onClick={() => askNew(users.reload)}>
          New account
        </button>
      </div>
      <Answer of={users} what="accounts">
        {({ items }) => (
          <Table head={['Name', 'Role', 'Clusters', 'Since', '']}>
            {items.map((user) => (
              <tr key={user.id}>
                <th scope="row">
                  {user.username} {user.disabled && <small class="tag">locked out</small>}
                  {user.hasSecondFactor && <small class="tag">second factor</small>}
                </th>
                <td>{user.role}</td>
                <td class="wrap">{user.clusters?.join(', ') ?? 'every'}</td>
                <td class="nowrap">{moment(user.createdAt)}</td>
                <td class="number">
                  <button
                    type="button"
                    class="quiet small"
                    onClick={() => askChange(user, users.reload)}
                  >
                    Change
                  </button>
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Answer>
    </section>
  );
}
