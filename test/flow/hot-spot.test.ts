/**
 * The loop closes: a node of a simulated cluster runs hot, the rule moves guests away by itself,
 * the decision explains itself in one sentence with its numbers, and the node cools down.
 */
import { afterEach, expect, it } from 'vitest';
import { Policy } from '../../backend/decide/policy.ts';
import { until } from '../support/servers.ts';
import { simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';

type Summary = { id: string; cluster: string; outcome: string; summary: string };
type Fact = { name: string; value: unknown };
type Intent = {
  executor: string;
  target: { kind: string; id: string };
  action: { kind: string; args: { targetNode: string } };
  reason: string;
  facts: Fact[];
  predicted: Fact[];
  margin: Fact;
};
type Detail = Summary & {
  intents: Intent[];
  inputsHash: string;
  commands: { id: string; kind: string; state: string }[];
};

const { above } = Policy.parse({}).relieve.cpuRatio;

let stack: Stack | undefined;
let simulation: Simulation | undefined;
afterEach(async () => {
  simulation?.run.signal('SIGKILL');
  await simulation?.run.exited;
  await stack?.remove();
});

it('relieves a hot node by itself and explains it in one sentence with numbers', async () => {
  const { api } = (stack = await startStack());
  const fleet = ['--nodes', '16', '--guests', '10', '--interval', '1', '--seed', '3'];
  const heat = ['--scenario', 'hot-spot', '--auto', '--time-scale', '60', '--minutes', '5'];
  simulation = simulate(stack, [...fleet, ...heat]);
  let acted: Summary | undefined;
  await until(
    async () => {
      expect(simulation?.run.isOver()).toBe(false);
      const { status, body } = await api.send<{ items: Summary[] }>(
        'GET',
        '/api/v1/decisions?cluster=sim-001&outcome=acted',
      );
      acted = status === 200 ? body.items.at(-1) : undefined;
      return acted !== undefined;
    },
    { withinMs: 80_000, what: 'a decision that acted' },
  );
  const decision = await api.get<Detail>(`decisions/${acted?.id}`);
  const [intent] = decision.intents;
  const hot = intent?.executor ?? '';
  expect(decision).toMatchObject({ outcome: 'acted', cluster: 'sim-001' });
  expect(decision.summary).toBe(intent?.reason);
  const sentence = [
    `^${hot} has had cpu above ${above} for \\d+ s \\(now \\d\\.\\d\\d\\): `,
    '\\(\\d+\\.\\d cores, \\d+\\.\\d GiB\\) moves to n\\d{4}, the least loaded that fits ',
    '\\(\\d\\.\\d\\d -> \\d\\.\\d\\d\\)',
    `; ${hot} falls to \\d\\.\\d\\d$`,
  ];
  for (const part of sentence) expect(decision.summary).toMatch(new RegExp(part));
  expect(decision.summary).not.toMatch(/[.!?]\s+[A-Z]/);
  expect(intent?.action).toMatchObject({ kind: 'guest.migrate' });
  expect(decision.commands).toHaveLength(1);

  await until(
    async () => {
      const { cpuRatio } = await api.get<{ cpuRatio: number | null }>(
        `clusters/sim-001/nodes/${hot}`,
      );
      return cpuRatio !== null && cpuRatio < above;
    },
    { what: `${hot} cooling down` },
  );
  const commandsNow = async () =>
    (await api.get<Detail>(`decisions/${acted?.id}`)).commands as { kind: string; state: string }[];
  // The new node's own telemetry has to show the guest first (SAFETY V9).
  await until(async () => (await commandsNow()).every(({ state }) => state !== 'VERIFYING'), {
    withinMs: 40_000,
    what: 'the end of the move',
  });
  expect(await commandsNow()).toMatchObject([{ kind: 'guest.migrate', state: 'SUCCEEDED' }]);
  const guest = intent?.target.id ?? '';
  const moves = simulation.effects().filter((effect) => effect.guest === guest);
  expect(moves.map(({ kind }) => kind)).toContain('guest.migrate');
}, 150_000);
