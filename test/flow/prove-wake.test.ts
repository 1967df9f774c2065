/**
 * The command that proves wakes, as people use it: beside the running server, on a simulated house
 * whose daemons and broker are the real ones.
 */
import { afterEach, expect, it } from 'vitest';
import { until } from '../support/servers.ts';
import { runProgram, simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';

let stack: Stack | undefined;
let simulation: Simulation | undefined;
afterEach(async () => {
  simulation?.run.signal('SIGKILL');
  await simulation?.run.exited;
  await stack?.remove();
});

type Node = { id: string; cluster: string; state: string };

it('switches a simulated node off and wakes it, and says when it is proven', async () => {
  const { api, settings } = (stack = await startStack());
  const fleet = ['--nodes', '4', '--guests', '1', '--interval', '1', '--seed', '5'];
  simulation = simulate(stack, [...fleet, '--time-scale', '60', '--minutes', '8']);
  const nodes = async (): Promise<Node[]> =>
    (await api.get<{ items: Node[] }>('nodes?limit=100')).items.filter(
      ({ cluster }) => cluster === 'sim-001',
    );
  await until(async () => (await nodes()).filter(({ state }) => state === 'awake').length === 4, {
    withinMs: 60_000,
    what: 'four awake nodes',
  });
  const change = { settings: { wakeProof: 'required' } };
  await api.send('PATCH', '/api/v1/clusters/sim-001', { body: change });
  const node = (await nodes()).at(-1)?.id ?? '';
  const wish = { cluster: 'sim-001', node, args: {} };
  const guests = await api.get<{ items: { id: string }[] }>(`guests?cluster=sim-001&node=${node}`);
  for (const { id } of guests.items) {
    await api.post('commands', { ...wish, kind: 'guest.stop', guest: id });
  }
  const proveWake = (...more: string[]) =>
    runProgram(['prove-wake', `sim-001/${node}`, ...more], {
      KR_DATA_DIR: settings['KR_DATA_DIR'] ?? '',
    });
  const mute = proveWake();
  expect(await mute.exited).toBe(2);
  expect(mute.stderr()).toContain(`--confirm ${node}`);
  await until(
    async () => {
      const all = await api.get<{ items: { state: string }[] }>(
        `guests?cluster=sim-001&node=${node}`,
      );
      return all.items.every(({ state }) => state === 'stopped');
    },
    { withinMs: 60_000, what: 'an empty node' },
  );
  const run = proveWake('--cycles', '3', '--confirm', node);
  const code = await run.exited;
  // Between two looks the last cycle may have been proven and the campaign ended with it.
  expect(run.stdout()).toContain('2 of 3 cycles proven');
  expect(run.stdout()).toContain('succeeded: 3 cycles proven');
  expect(code).toBe(0);
  expect(run.stdout()).toContain(`sim-001/${node} may sleep from now on, for 30 days; it took`);
  const standing = await api.get(`clusters/sim-001/nodes/${node}/wake-proofs`);
  expect(standing).toMatchObject({ isProven: true, campaign: { state: 'succeeded', proven: 3 } });
  const kinds = await api.get<{ items: { kind: string; state: string }[] }>(
    'commands?cluster=sim-001&limit=100',
  );
  const cycles = kinds.items.filter(({ kind }) => kind.startsWith('node.')).toReversed();
  expect(cycles.map(({ kind, state }) => `${kind} ${state}`)).toEqual(
    Array.from({ length: 3 }, () => ['node.shutdown SUCCEEDED', 'node.wake SUCCEEDED']).flat(),
  );
}, 300_000);
