import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addCluster,
  addNode,
  bearer,
  type Harness,
  password,
  signInAll,
  startHarness,
  type Who,
} from './harness.ts';

let h: Harness;
let who: Record<Who, string | null>;
const url = '/api/v1/clusters/home/nodes/n1/wake-proofs';

beforeAll(async () => {
  h = await startHarness();
  await addCluster(h.database, h.fleet, 'home');
  addNode(h.fleet, { cluster: 'home', node: 'n1' });
  who = await signInAll(h);
});
afterAll(() => h.stop());

const ask = (method: 'GET' | 'POST' | 'PUT', to: string, payload?: object, as: Who = 'admin') =>
  h.app.inject({ method, url: to, headers: bearer(who[as]), ...(payload && { payload }) });

describe('wake proofs over HTTP', () => {
  it('begin only with the name of the node typed', async () => {
    for (const confirm of ['', 'n2', 'N1']) {
      const answer = await ask('POST', url, { confirm });
      expect(answer.statusCode).toBe(400);
      expect(answer.json()).toMatchObject({ code: 'KR_BODY', field: 'confirm' });
    }
    const begun = await ask('POST', url, { confirm: 'n1', cycles: 4, waker: 'ipmi' });
    expect(begun.statusCode).toBe(202);
    expect(begun.json()).toMatchObject({
      isProven: false,
      proofs: [{ waker: 'wol', succeeded: 1, needed: 3, isProof: false }],
      campaign: { state: 'running', phase: 'wake', startedAt: '2027-01-15T08:00:00.000Z' },
    });
    expect(h.commands.proving.at(-1)).toMatchObject({ cycles: 4, waker: 'ipmi', node: 'n1' });
  });

  it('need a person: an API token proves no password, an old session proves it anew', async () => {
    const made = await ask('POST', '/api/v1/tokens', { name: 'cron', role: 'admin' });
    const { token: secret } = made.json<{ token: string }>();
    const refused = await h.app.inject({
      method: 'POST',
      url,
      headers: bearer(secret),
      payload: { confirm: 'n1' },
    });
    expect(refused.statusCode).toBe(403);
    expect(refused.json()).toMatchObject({ code: 'KR_REAUTHENTICATION' });
    await h.clock.advance(6 * 60_000);
    expect((await ask('POST', url, { confirm: 'n1' })).json()).toMatchObject({
      code: 'KR_REAUTHENTICATION',
      field: 'password',
    });
    expect((await ask('POST', url, { confirm: 'n1', password })).statusCode).toBe(202);
  });

  it.each([
    [{ confirm: 'n1', cycles: 0 }, 'cycles'],
    [{ confirm: 'n1', cycles: 11 }, 'cycles'],
    [{ confirm: 'n1', waker: 'magic' }, 'waker'],
    [{ confirm: 'n1', force: true }, 'force'],
  ])('refuse %j', async (payload, field) => {
    const answer = await ask('POST', url, payload);
    expect(answer.statusCode).toBe(400);
    expect(JSON.stringify(answer.json())).toContain(field);
  });
});

describe('the own house over HTTP', () => {
  it('says what nobody could find, and keeps an answer with its author', async () => {
    expect((await ask('GET', '/api/v1/own-house')).json()).toEqual({
      residents: [],
      unknown: ['backend'],
    });
    const places = [{ cluster: 'home', node: 'n1', guest: '100' }];
    expect((await ask('PUT', '/api/v1/own-house', { places, password })).statusCode).toBe(204);
    expect(h.commands.answers.at(-1)).toEqual({
      answer: [{ part: 'backend', ...places[0] }],
      actor: 'account:admin',
    });
    const wrong = await ask('PUT', '/api/v1/own-house', { places: [{ cluster: 'home' }] });
    expect(wrong.statusCode).toBe(400);
  });
});
