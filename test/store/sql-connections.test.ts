import { describe, expect, it } from 'vitest';
import { lendConnections, type Lent } from '../../backend/store/sql/connections.ts';
import { virtualClock } from '../support/clock.ts';

/** A server that can be down, slow, or silent: then nothing it is asked is answered. */
function twinServer() {
  const made: Twin[] = [];
  const state = { isDown: false, gate: Promise.resolve(), attempts: 0 };
  const silence = { now: null as PromiseWithResolvers<void> | null };
  const answer = async (): Promise<void> => silence.now?.promise;
  type Twin = {
    id: number;
    isDead: boolean;
    sent: string[];
    isValid(): boolean;
    end(): Promise<void>;
    ping(): Promise<void>;
    query(sql: string): Promise<unknown>;
  };
  const connect = async (): Promise<Twin> => {
    state.attempts += 1;
    await state.gate;
    if (state.isDown) throw new Error('refused');
    const twin: Twin = {
      id: made.length,
      isDead: false,
      sent: [],
      isValid: () => !twin.isDead,
      end: async () => {
        twin.isDead = true;
      },
      ping: answer,
      async query(sql) {
        twin.sent.push(sql);
        await answer();
        return `did ${sql}`;
      },
    };
    made.push(twin);
    return twin;
  };
  return {
    state,
    made,
    connect,
    fallSilent: () => void (silence.now = Promise.withResolvers<void>()),
    speak() {
      silence.now?.resolve();
      silence.now = null;
    },
  };
}
type Server = ReturnType<typeof twinServer>;
type Twin = Server['made'][number];

function open(server: Server, max = 2) {
  const clock = virtualClock();
  const silent = (): Error => new Error('silent');
  const lent = lendConnections({ max, connect: server.connect, clock, silent });
  return { clock, lent };
}

const outcome = (borrowed: Promise<Lent<Twin>>): Promise<string> =>
  borrowed.then(
    ({ id }) => `connection ${id}`,
    (error: Error) => error.message,
  );
const told = (asked: Promise<unknown>): Promise<unknown> =>
  asked.catch((error: Error) => error.message);

describe('lent connections', () => {
  it('are at most as many as allowed and go to those who asked first', async () => {
    const server = twinServer();
    const { lent } = open(server);
    const [a, b] = await Promise.all([lent.getConnection(), lent.getConnection()]);
    const order: string[] = [];
    const third = lent.getConnection().then(({ id }) => order.push(`third has ${id}`));
    const fourth = lent.getConnection().then(({ id }) => order.push(`fourth has ${id}`));
    await b.release();
    await a.release();
    await Promise.all([third, fourth]);
    expect(order).toEqual(['third has 1', 'fourth has 0']);
    expect(server.made).toHaveLength(2);
  });

  it('are used again, and replaced when they died idle or in use', async () => {
    const server = twinServer();
    const { lent } = open(server, 1);
    const first = await lent.getConnection();
    await first.release();
    expect(await outcome(lent.getConnection())).toBe('connection 0');
    const waiting = outcome(lent.getConnection());
    first.isDead = true;
    await first.release();
    expect(await waiting).toBe('connection 1');
    const [, second] = server.made;
    if (second) second.isDead = true;
    await (second as Lent<Twin>).release();
    expect(await outcome(lent.getConnection())).toBe('connection 2');
  });

  it('are refused to all who wait as soon as the server refuses one', async () => {
    const server = twinServer();
    const { lent } = open(server, 1);
    const gate = Promise.withResolvers<void>();
    server.state.gate = gate.promise;
    server.state.isDown = true;
    const outcomes = Array.from({ length: 5 }, () => outcome(lent.getConnection()));
    gate.resolve();
    expect(await Promise.all(outcomes)).toEqual(Array.from({ length: 5 }, () => 'refused'));
    expect(server.state.attempts).toBe(1);
  });

  it('are tried for in the background while the server is down, and callers never wait', async () => {
    const server = twinServer();
    const { lent, clock } = open(server, 3);
    server.state.isDown = true;
    expect(await outcome(lent.getConnection())).toBe('refused');
    const gate = Promise.withResolvers<void>();
    server.state.gate = gate.promise;
    await clock.advance(1);
    expect(await outcome(lent.getConnection())).toBe('refused');
    expect(server.state.attempts).toBe(1);
    const tried = clock.advance(200);
    await Promise.resolve();
    expect(await outcome(lent.getConnection())).toBe('refused');
    expect(server.state.attempts).toBe(2);
    server.state.isDown = false;
    gate.resolve();
    await tried;
    expect(await outcome(lent.getConnection())).toBe('connection 0');
    expect(await outcome(lent.getConnection())).toBe('connection 1');
  });

  it('are all ended at the end, also those given back later, and nothing goes on', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const [busy, idle] = await Promise.all([lent.getConnection(), lent.getConnection()]);
    const waiting = outcome(lent.getConnection());
    await lent.end();
    expect(await waiting).toBe('the store was closed');
    await idle.release();
    await busy.release();
    expect(server.made.map(({ isDead }) => isDead)).toEqual([true, true]);
    expect(clock.pending()).toBe(0);
  });
});

describe('a server that falls silent', () => {
  it('refuses who comes next within a second, and ends what is under way as unknown', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const busy = await lent.getConnection();
    server.fallSilent();
    const committing = told(busy.query('commit'));
    await clock.advance(900);
    expect(await outcome(lent.getConnection())).toMatch(/^connection /);
    await clock.advance(200);
    expect(await outcome(lent.getConnection())).toBe('silent');
    const waited = await Promise.race([committing, clock.advance(0).then(() => 'not yet')]);
    expect(waited).toBe('not yet');
    await clock.advance(2_000);
    expect(await committing).toBe('silent');
    // It was sent once, and a connection whose answer nobody waits for is not used again.
    expect(busy.sent).toEqual(['commit']);
    expect(await told(busy.query('rollback'))).toBe('silent');
    expect(busy.sent).toEqual(['commit']);
  });

  it('ends a later statement of a connection as soon as a first one', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const busy = await lent.getConnection();
    await busy.query('begin');
    server.fallSilent();
    const changing = told(busy.query('update t'));
    await clock.advance(3_100);
    expect(await Promise.race([changing, clock.advance(0).then(() => 'not yet')])).toBe('silent');
    expect(busy.sent).toEqual(['begin', 'update t']);
  });

  it('is used again when it speaks, with what was only slow still under way', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const busy = await lent.getConnection();
    server.fallSilent();
    const slow = told(busy.query('commit'));
    await clock.advance(1_500);
    expect(await outcome(lent.getConnection())).toBe('silent');
    server.speak();
    await clock.advance(1);
    expect(await slow).toBe('did commit');
    expect(await outcome(lent.getConnection())).toMatch(/^connection /);
  });

  it('is tried again after it was given up', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const busy = await lent.getConnection();
    server.fallSilent();
    const lost = told(busy.query('commit'));
    await clock.advance(300);
    server.state.isDown = true;
    await clock.advance(4_000);
    expect(await lost).toBe('silent');
    await busy.release();
    server.state.isDown = false;
    server.speak();
    await clock.advance(200);
    const next = await lent.getConnection();
    expect(next.id).toBeGreaterThan(busy.id);
    expect(await next.query('select 1')).toBe('did select 1');
  });

  it('is not suspected for one long statement while it answers beside it', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const busy = await lent.getConnection();
    await clock.advance(10_000);
    expect(await outcome(lent.getConnection())).toMatch(/^connection /);
    await busy.release();
  });

  it('is asked no more once nothing is under way', async () => {
    const server = twinServer();
    const { lent, clock } = open(server);
    const busy = await lent.getConnection();
    await busy.release();
    await clock.advance(1_000);
    expect(clock.pending()).toBe(0);
  });
});
