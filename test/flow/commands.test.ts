/**
 * Commands of every kind, sent through the API to real daemons of a simulated fleet, with a real
 * MariaDB as store. What the server says of each is held against the world's own log, which only
 * the world writes: everything ends, and every effect begins exactly once.
 */
import { afterEach, expect, it } from 'vitest';
import { type Server, startMariadb } from '../support/servers.ts';
import { begunTwice, simulate, type Stack, startStack } from '../support/stack.ts';

let mariadb: Server | undefined;
let stack: Stack | undefined;
afterEach(async () => {
  await stack?.remove();
  await mariadb?.stop();
});

const kinds = [
  'guest.migrate',
  'guest.restart',
  'guest.scale',
  'guest.start',
  'guest.stop',
  'node.shutdown',
  'node.wake',
];

it('ends every command of every kind, each effect begun exactly once in the world', async () => {
  mariadb = await startMariadb();
  stack = await startStack({ KR_SQL_URL: mariadb.url });
  const fleet = ['--nodes', '16', '--nodes-per-cluster', '4', '--guests', '6', '--interval', '1'];
  const work = ['--commands', '80', '--minutes', '0.05', '--time-scale', '60', '--seed', '7'];
  const simulation = simulate(stack, [...fleet, ...work]);
  const { commands, samples, connectedNodes } = await simulation.report();
  expect(connectedNodes).toBe(16);
  expect(samples.lost).toBe(0);
  expect(commands).toMatchObject({
    count: 80,
    notTerminal: 0,
    indeterminate: 0,
    wrongEffects: [],
  });
  expect(commands?.kinds.map(({ kind }) => kind).toSorted()).toEqual(kinds);
  for (const { kind, states } of commands?.kinds ?? []) {
    expect({ kind, succeeded: states['SUCCEEDED'] ?? 0 }).not.toEqual({ kind, succeeded: 0 });
  }
  const effects = simulation.effects();
  expect(effects.filter(({ commandId }) => commandId !== null).length).toBeGreaterThanOrEqual(80);
  expect(begunTwice(effects)).toEqual([]);
}, 90_000);
