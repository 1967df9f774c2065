import { Secret, TOTP } from 'otpauth';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bearer, type Harness, password, signInAll, startHarness, type Who } from './harness.ts';

let h: Harness;
let who: Record<Who, string | null>;
beforeEach(async () => {
  h = await startHarness();
  who = await signInAll(h);
});
afterEach(() => h.stop());

/** What the app on the phone shows. */
const codeAt = (secret: string, atMs: number): string =>
  new TOTP({ secret: Secret.fromBase32(secret) }).generate({ timestamp: atMs });

const send = (method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH', url: string, payload?: object) =>
  h.app.inject({ method, url, headers: bearer(who.operator), ...(payload && { payload }) });

const signIn = (totp?: string) =>
  h.app.inject({
    method: 'POST',
    url: '/api/v1/session',
    payload: { username: 'operator', password, ...(totp === undefined ? {} : { totp }) },
  });

async function setUp(): Promise<string> {
  const { secret, uri } = (await send('POST', '/api/v1/session/totp', {})).json<{
    secret: string;
    uri: string;
  }>();
  expect(uri).toContain(`otpauth://totp/Kernreaktor:operator?`);
  const code = codeAt(secret, h.clock.wallMs());
  const confirmed = await send('PUT', '/api/v1/session/totp', { secret, code });
  expect(confirmed.statusCode).toBe(204);
  return secret;
}

describe('a second factor', () => {
  it('counts only once the app has shown a code of it', async () => {
    const { secret } = (await send('POST', '/api/v1/session/totp', {})).json<{ secret: string }>();
    const wrong = await send('PUT', '/api/v1/session/totp', { secret, code: '000000' });
    expect(wrong.json()).toMatchObject({ status: 401, code: 'KR_TOTP', field: 'code' });
    expect((await signIn()).statusCode).toBe(201);
  });

  it('is asked for at every sign-in, and takes each code once', async () => {
    const own = async () => (await send('GET', '/api/v1/session')).json<object>();
    expect(await own()).toMatchObject({ hasSecondFactor: false });
    const secret = await setUp();
    expect(await own()).toMatchObject({ hasSecondFactor: true });
    expect((await signIn()).json()).toMatchObject({ code: 'KR_TOTP', field: 'totp' });
    await h.clock.advance(60_000);
    const code = codeAt(secret, h.clock.wallMs());
    expect((await signIn(code)).statusCode).toBe(201);
    expect((await signIn(code)).json()).toMatchObject({ code: 'KR_TOTP' });
    await h.clock.advance(60_000);
    // A clock half a minute behind is still believed, one of two minutes is not.
    expect((await signIn(codeAt(secret, h.clock.wallMs() - 30_000))).statusCode).toBe(201);
    await h.clock.advance(600_000);
    const late = await signIn(codeAt(secret, h.clock.wallMs() - 120_000));
    expect(late.json()).toMatchObject({ code: 'KR_TOTP' });
  });

  it('is guessed by nobody: wrong codes are delayed like wrong passwords', async () => {
    await setUp();
    const codes: string[] = [];
    for (let n = 0; n < 12; n += 1) {
      codes.push((await signIn(String(n).padStart(6, '0'))).json<{ code: string }>().code);
    }
    expect(codes).toContain('KR_LOGIN_DELAY');
  });

  it('is sealed in the store and never answered', async () => {
    const secret = await setUp();
    const rows = await h.database.db.selectFrom('accounts').selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain(secret);
    const users = await h.app.inject({ url: '/api/v1/users', headers: bearer(who.admin) });
    expect(users.body).not.toContain(secret);
    expect(users.json<{ items: object[] }>().items).toContainEqual(
      expect.objectContaining({ username: 'operator', hasSecondFactor: true }),
    );
    const audit = await h.database.db.selectFrom('audit').select('detail').execute();
    expect(JSON.stringify(audit)).toContain('secondFactor');
    expect(JSON.stringify(audit)).not.toContain(secret);
  });

  it('is switched off by its owner, or by an administrator for who lost the app', async () => {
    await setUp();
    expect((await send('DELETE', '/api/v1/session/totp', {})).statusCode).toBe(204);
    expect((await signIn()).statusCode).toBe(201);
    await h.clock.advance(60_000);
    await setUp();
    const [account] = await h.database.db
      .selectFrom('accounts')
      .select('id')
      .where('username', '=', 'operator')
      .execute();
    const changed = await h.app.inject({
      method: 'PATCH',
      url: `/api/v1/users/${account?.id ?? ''}`,
      headers: bearer(who.admin),
      payload: { secondFactor: 'off' },
    });
    expect(changed.json()).toMatchObject({ hasSecondFactor: false });
    expect((await signIn()).statusCode).toBe(201);
  });
});

describe('sessions', () => {
  it('are listed for their owner alone, and end one by one', async () => {
    const opened = await signIn();
    const other = opened.json<{ token: string }>().token;
    const { items } = (await send('GET', '/api/v1/sessions')).json<{
      items: { id: string; username: string; isThis: boolean }[];
    }>();
    expect(items.map(({ username }) => username)).toEqual(['operator', 'operator']);
    expect(items.filter(({ isThis }) => isThis)).toHaveLength(1);
    const foreign = items.find(({ isThis }) => !isThis)?.id ?? '';
    const tried = await h.app.inject({
      method: 'DELETE',
      url: `/api/v1/sessions/${foreign}`,
      headers: bearer(who.viewer),
    });
    expect(tried.statusCode).toBe(404);
    expect((await send('DELETE', `/api/v1/sessions/${foreign}`)).statusCode).toBe(204);
    const after = await h.app.inject({ url: '/api/v1/session', headers: bearer(other) });
    expect(after.statusCode).toBe(401);
    expect((await send('GET', '/api/v1/session')).statusCode).toBe(200);
  });
});
