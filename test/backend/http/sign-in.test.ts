import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bearer, type Harness, password, signInAll, startHarness } from './harness.ts';

let h: Harness;
beforeEach(async () => {
  h = await startHarness();
});
afterEach(() => h.stop());

const post = (url: string, payload: object, headers: Record<string, string> = {}) =>
  h.app.inject({ method: 'POST', url: `/api/v1/${url}`, payload, headers });

const setup = (username = 'anna', token = h.server.setupToken() ?? '') =>
  post('setup', { token, username, password });

describe('set-up', () => {
  it('creates the first administrator and voids the token', async () => {
    expect((await h.app.inject('/api/v1/setup')).json()).toEqual({ isRequired: true });
    const token = h.server.setupToken();
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    const answer = await setup();
    expect(answer.statusCode).toBe(201);
    expect(answer.json()).toMatchObject({ username: 'anna' });
    expect(h.server.setupToken()).toBeNull();
    expect(h.setupDone).toHaveLength(1);
    const again = await setup('eve', token ?? '');
    expect(again.json()).toMatchObject({ status: 409, code: 'KR_SETUP_DONE' });
    expect((await h.app.inject('/api/v1/setup')).json()).toEqual({ isRequired: false });
  });

  it('lets exactly one of many concurrent set-ups win', async () => {
    const token = h.server.setupToken() ?? '';
    const names = ['anna', 'ben', 'cleo', 'dora', 'emil'];
    const answers = await Promise.all(names.map((name) => setup(name, token)));
    expect(answers.map(({ statusCode }) => statusCode).sort((a, b) => a - b)).toEqual([
      201, 409, 409, 409, 409,
    ]);
    const rows = await h.database.db.selectFrom('accounts').select('role').execute();
    expect(rows).toEqual([{ role: 'admin' }]);
  });

  it('refuses a wrong token and, after some, makes the address wait', async () => {
    const first = await setup('anna', 'f'.repeat(64));
    expect(first.json()).toMatchObject({ status: 401, code: 'KR_SETUP_TOKEN', field: 'token' });
    for (let attempt = 0; attempt < 9; attempt += 1) await setup('anna', 'x');
    const late = await setup('anna', 'x');
    expect(late.json()).toMatchObject({ status: 429, code: 'KR_LOGIN_DELAY' });
    expect(late.headers['retry-after']).toBe('1');
    expect(await h.database.db.selectFrom('accounts').selectAll().execute()).toEqual([]);
  });

  it('does not burn the token on a weak password', async () => {
    const token = h.server.setupToken() ?? '';
    const weak = await post('setup', { token, username: 'anna', password: 'password1234' });
    expect(weak.json()).toMatchObject({ code: 'KR_PASSWORD_WEAK', field: 'password' });
    expect((await setup('anna', token)).statusCode).toBe(201);
  });
});

describe('sessions', () => {
  beforeEach(async () => {
    await setup();
  });
  const signIn = (username: string, secret: string) =>
    post('session', { username, password: secret });

  it('opens for 24 hours, keeps only a hash, and ends at once when closed', async () => {
    const answer = await signIn('Anna', password);
    expect(answer.statusCode).toBe(201);
    const { token, expiresAt } = answer.json<{ token: string; expiresAt: string }>();
    expect(Date.parse(expiresAt) - h.clock.wallMs()).toBe(86_400_000);
    const stored = await h.database.db.selectFrom('sessions').selectAll().execute();
    expect(JSON.stringify(stored)).not.toContain(token);
    const me = await h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
    expect(me.json()).toMatchObject({ kind: 'session', username: 'anna', role: 'admin' });
    const remove = { method: 'DELETE' as const, url: '/api/v1/session', headers: bearer(token) };
    expect((await h.app.inject(remove)).statusCode).toBe(204);
    expect((await h.app.inject(remove)).json()).toMatchObject({ code: 'KR_UNAUTHENTICATED' });
  });

  it('expires', async () => {
    const { token } = (await signIn('anna', password)).json<{ token: string }>();
    await h.clock.advance(86_400_000);
    const me = await h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
    expect(me.statusCode).toBe(401);
    expect(me.headers['www-authenticate']).toBe('Bearer');
  });

  it('answers alike for a wrong password, an unknown name and a disabled account', async () => {
    const anna = await h.database.db.selectFrom('accounts').select('id').executeTakeFirstOrThrow();
    const wrong = await signIn('anna', 'not the password');
    const unknown = await signIn('nobody', 'not the password');
    await h.database.db
      .updateTable('accounts')
      .set({ disabled: 1 })
      .where('id', '=', anna.id)
      .execute();
    const disabled = await signIn('anna', password);
    expect(wrong.statusCode).toBe(401);
    expect(unknown.body).toBe(wrong.body);
    expect(disabled.body).toBe(wrong.body);
    const { text } = await h.deps.observation.render();
    expect(text).toContain('kr_http_refused_logins_total 3');
  });

  it('delays guesses at a name, known or not, and lets the owner in after the wait', async () => {
    for (const name of ['anna', 'nobody']) {
      for (let attempt = 0; attempt < 4; attempt += 1) await signIn(name, 'not the password');
    }
    const fifth = await signIn('anna', 'not the password');
    expect(fifth.statusCode).toBe(401);
    const delayed = await signIn('anna', password);
    expect(delayed.json()).toMatchObject({ status: 429, code: 'KR_LOGIN_DELAY' });
    await h.clock.advance(1_000);
    expect((await signIn('anna', password)).statusCode).toBe(201);
    expect((await signIn('anna', password)).statusCode).toBe(201);
  });
});

describe('accounts', () => {
  it('keeps the last unrestricted administrator, whatever is tried', async () => {
    const who = await signInAll(h);
    const [admin] = await h.database.db
      .selectFrom('accounts')
      .select('id')
      .where('username', '=', 'admin')
      .execute();
    const changes: [object, string][] = [
      [{ disabled: true }, 'disabled'],
      [{ role: 'operator' }, 'role'],
      [{ clusters: ['home'] }, 'clusters'],
    ];
    for (const [payload, field] of changes) {
      const answer = await h.app.inject({
        method: 'PATCH',
        url: `/api/v1/users/${admin?.id}`,
        payload,
        headers: bearer(who.admin),
      });
      expect(answer.json()).toMatchObject({ status: 409, code: 'KR_LAST_ADMIN', field });
    }
  });

  it('keeps one of two administrators that demote each other at the same time', async () => {
    const who = await signInAll(h);
    const created = await post(
      'users',
      { username: 'zoe', password, role: 'admin' },
      bearer(who.admin),
    );
    expect(created.statusCode).toBe(201);
    const admins = await h.database.db
      .selectFrom('accounts')
      .select('id')
      .where('role', '=', 'admin')
      .where('clusters', 'is', null)
      .execute();
    const answers = await Promise.all(
      admins.map(({ id }) =>
        h.app.inject({
          method: 'PATCH',
          url: `/api/v1/users/${id}`,
          payload: { role: 'viewer' },
          headers: bearer(who.admin),
        }),
      ),
    );
    expect(answers.map(({ statusCode }) => statusCode)).toContain(200);
    const left = await h.database.db
      .selectFrom('accounts')
      .select('id')
      .where('role', '=', 'admin')
      .where('clusters', 'is', null)
      .execute();
    expect(left).toHaveLength(1);
  });

  it('ends the sessions of an account that is disabled or gets a new password', async () => {
    const who = await signInAll(h);
    const rows = await h.database.db.selectFrom('accounts').select(['id', 'username']).execute();
    const idOf = (name: string) => rows.find(({ username }) => username === name)?.id;
    const patch = (name: string, payload: object) =>
      h.app.inject({
        method: 'PATCH',
        url: `/api/v1/users/${idOf(name)}`,
        payload,
        headers: bearer(who.admin),
      });
    expect((await patch('viewer', { disabled: true })).statusCode).toBe(200);
    expect((await patch('operator', { password: 'quite another sentence' })).statusCode).toBe(200);
    for (const token of [who.viewer, who.operator]) {
      const answer = await h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
      expect(answer.statusCode).toBe(401);
    }
  });

  it('refuses a taken user name', async () => {
    const who = await signInAll(h);
    const body = { username: 'VIEWER', password, role: 'viewer' };
    const answer = await post('users', body, bearer(who.admin));
    expect(answer.json()).toMatchObject({ status: 409, code: 'KR_USERNAME_TAKEN' });
  });
});

describe('API tokens', () => {
  const create = (payload: object, token: string | null) => post('tokens', payload, bearer(token));

  it('are shown once, work, and are worth nothing after their revocation', async () => {
    const who = await signInAll(h);
    const made = await create({ name: 'grafana', role: 'viewer' }, who.operator);
    expect(made.statusCode).toBe(201);
    const { id, token } = made.json<{ id: string; token: string }>();
    const list = await h.app.inject({ url: '/api/v1/tokens', headers: bearer(who.operator) });
    expect(list.json()).toMatchObject({ items: [{ id, name: 'grafana', role: 'viewer' }] });
    expect(list.body).not.toContain(token);
    const me = () => h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
    expect((await me()).json()).toMatchObject({ kind: 'token', role: 'viewer' });
    const url = `/api/v1/tokens/${id}`;
    const revoke = (by: string | null) =>
      h.app.inject({ method: 'DELETE', url, headers: bearer(by) });
    expect((await revoke(who.viewer)).statusCode).toBe(404);
    expect((await revoke(who.operator)).statusCode).toBe(204);
    expect((await me()).statusCode).toBe(401);
  });

  it('never exceed their creator, in role, clusters or by making tokens themselves', async () => {
    const who = await signInAll(h);
    const higher = await create({ name: 'x', role: 'admin' }, who.operator);
    expect(higher.json()).toMatchObject({ status: 403, code: 'KR_FORBIDDEN' });
    const wider = await create({ name: 'x', role: 'viewer', clusters: null }, who.foreignAdmin);
    expect(wider.json()).toMatchObject({ status: 403, code: 'KR_SCOPE', field: 'clusters' });
    const other = await create({ name: 'x', role: 'viewer', clusters: ['home'] }, who.foreignAdmin);
    expect(other.json()).toMatchObject({ status: 404, code: 'KR_CLUSTER_UNKNOWN' });
    const byToken = await create({ name: 'x', role: 'viewer' }, who.foreign);
    expect(byToken.json()).toMatchObject({ status: 403, code: 'KR_FORBIDDEN' });
    const own = await create({ name: 'x', role: 'viewer' }, who.foreignAdmin);
    const { token } = own.json<{ token: string }>();
    const me = await h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
    expect(me.json()).toMatchObject({ role: 'viewer', clusters: ['elsewhere'] });
  });

  it('fall with the role of their owner, and expire', async () => {
    const who = await signInAll(h);
    const body = { name: 'x', role: 'operator', expiresInMs: 60_000 };
    const { token } = (await create(body, who.operator)).json<{ token: string }>();
    const me = () => h.app.inject({ url: '/api/v1/session', headers: bearer(token) });
    expect((await me()).json()).toMatchObject({ role: 'operator' });
    await h.database.db
      .updateTable('accounts')
      .set({ role: 'viewer' })
      .where('username', '=', 'operator')
      .execute();
    expect((await me()).json()).toMatchObject({ role: 'viewer' });
    await h.clock.advance(60_000);
    expect((await me()).statusCode).toBe(401);
  });
});
