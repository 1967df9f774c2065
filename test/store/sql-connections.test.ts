import { describe, expect, it } from 'vitest';
import { lendConnections, type Lent } from '../../backend/store/sql/connections.ts';

type Twin = { id: number; isDead: boolean; isValid(): boolean; end(): Promise<void> };

/** A server that can be down, slow, or both. */
function twinServer() {
  const made: Twin[] = [];
  const state = { isDown: false, gate: Promise.resolve(), attempts: 0 };
  const connect = async (): Promise<Twin> => {
    state.attempts += 1;
    await state.gate;
    if (state.isDown) throw new Error('refused');
    const twin: Twin = {
      id: made.length,
      isDead: false,
      isValid: () => !twin.isDead,
      end: async () => {
        twin.isDead = true;
      },
    };
    made.push(twin);
    return twin;
  };
  return { state, made, connect };
}

const outcome = (borrowed: Promise<Lent<Twin>>): Promise<string> =>
  borrowed.then(
    ({ id }) => `connection ${id}`,
    (error: Error) => error.message,
  );

describe('lent connections', () => {
  it('are at most as many as allowed and go to those who asked first', async () => {
    const server = twinServer();
    const lending = lendConnections(2, server.connect);
    const [a, b] = await Promise.all([lending.getConnection(), lending.getConnection()]);
    const order: string[] = [];
    const third = lending.getConnection().then(({ id }) => order.push(`third has ${id}`));
    const fourth = lending.getConnection().then(({ id }) => order.push(`fourth has ${id}`));
    await b.release();
    await a.release();
    await Promise.all([third, fourth]);
    expect(order).toEqual(['third has 1', 'fourth has 0']);
    expect(server.made).toHaveLength(2);
  });

  it('are used again, and replaced when they died idle or in use', async () => {
    const server = twinServer();
    const lending = lendConnections(1, server.connect);
    const first = await lending.getConnection();
    await first.release();
    expect(await outcome(lending.getConnection())).toBe('connection 0');
    const waiting = outcome(lending.getConnection());
    first.isDead = true;
    await first.release();
    expect(await waiting).toBe('connection 1');
    const [, second] = server.made;
    if (second) second.isDead = true;
    await (second as Lent<Twin>).release();
    expect(await outcome(lending.getConnection())).toBe('connection 2');
  });

  it('are refused to all who wait as soon as the server refuses one', async () => {
    const server = twinServer();
    const lending = lendConnections(1, server.connect);
    const gate = Promise.withResolvers<void>();
    server.state.gate = gate.promise;
    server.state.isDown = true;
    const outcomes = Array.from({ length: 5 }, () => outcome(lending.getConnection()));
    gate.resolve();
    expect(await Promise.all(outcomes)).toEqual(Array.from({ length: 5 }, () => 'refused'));
    expect(server.state.attempts).toBe(1);
  });

  it('while the server is down are tried for by one caller at a time', async () => {
    const server = twinServer();
    const lending = lendConnections(3, server.connect);
    server.state.isDown = true;
    expect(await outcome(lending.getConnection())).toBe('refused');
    const gate = Promise.withResolvers<void>();
    server.state.gate = gate.promise;
    const trying = outcome(lending.getConnection());
    // Answered although the one that tries still waits.
    expect(await outcome(lending.getConnection())).toBe('refused');
    expect(server.state.attempts).toBe(2);
    server.state.isDown = false;
    gate.resolve();
    expect(await trying).toBe('connection 0');
    expect(await outcome(lending.getConnection())).toBe('connection 1');
  });

  it('are all ended at the end, also those given back later', async () => {
    const server = twinServer();
    const lending = lendConnections(2, server.connect);
    const [busy, idle] = await Promise.all([lending.getConnection(), lending.getConnection()]);
    const waiting = outcome(lending.getConnection());
    await lending.end();
    expect(await waiting).toBe('the store was closed');
    await idle.release();
    await busy.release();
    expect(server.made.map(({ isDead }) => isDead)).toEqual([true, true]);
  });
});
