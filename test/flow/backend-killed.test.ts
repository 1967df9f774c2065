/**
 * kill -9 of the backend while commands of every kind are on their way, with a real MariaDB as
 * store. After the restart each of them is terminal, or INDETERMINATE with its reason; nothing
 * began twice in the world; the stored histories and the audit chain are whole.
 */
import { afterEach, expect, it } from 'vitest';
import { mayFollow } from '../../backend/act/lifecycle.ts';
import { type CommandState, isTerminal } from '../../broker/contract/command.ts';
import { compare } from '../../simulator/ground-truth.ts';
import { type Server, startMariadb, until } from '../support/servers.ts';
import { begunTwice, simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';

type Command = {
  id: string;
  kind: string;
  cluster: string;
  state: CommandState;
  stateReason: string | null;
  history: { state: CommandState; at: string }[];
};

let mariadb: Server | undefined;
let stack: Stack | undefined;
let simulation: Simulation | undefined;
afterEach(async () => {
  simulation?.run.signal('SIGKILL');
  await simulation?.run.exited;
  await stack?.remove();
  await mariadb?.stop();
});

const count = 80;

const totalOf = async (api: Stack['api']): Promise<number> =>
  (await api.get<{ total: number }>('commands?limit=1')).total;

async function allCommands(api: Stack['api']): Promise<Command[]> {
  const { items } = await api.get<{ items: Command[] }>('commands?limit=500');
  return Promise.all(items.map(({ id }) => api.get<Command>(`commands/${id}`)));
}

/** Each step of a stored history that no transition of the table allows. */
const forbiddenSteps = ({ id, history }: Command): string[] =>
  history.flatMap(({ state }, index) => {
    const before = history[index - 1]?.state;
    const isAllowed = before === undefined ? state === 'PLANNED' : mayFollow(before, state);
    return isAllowed ? [] : [`${id}: ${before ?? 'nothing'} -> ${state}`];
  });

it('leaves nothing undecided and begins nothing twice when the backend is killed', async () => {
  mariadb = await startMariadb();
  stack = await startStack({ KR_SQL_URL: mariadb.url }, { hasFixedPorts: true });
  const fleet = ['--nodes', '16', '--nodes-per-cluster', '4', '--guests', '6', '--interval', '1'];
  const work = [
    '--commands',
    `${count}`,
    '--minutes',
    '0.05',
    '--time-scale',
    '60',
    '--seed',
    '11',
  ];
  simulation = simulate(stack, [...fleet, ...work]);
  const { run } = simulation;
  const { api } = stack;
  const effects = () => simulation?.effects() ?? [];
  const begun = () => effects().filter(({ commandId }) => commandId !== null).length;
  await until(() => begun() >= 20 || run.isOver(), { what: 'commands under way' });
  expect(run.isOver()).toBe(false);
  await stack.kill9();
  await stack.start();
  // It was hit in the middle: what is asked for from now on meets the restarted server.
  expect(await totalOf(api)).toBeLessThan(count);
  await until(async () => (await totalOf(api)) >= count, { what: 'the last', withinMs: 60_000 });
  let told: Command[] = [];
  const isDecided = ({ state }: Command) => isTerminal(state) || state === 'INDETERMINATE';
  await until(
    async () => {
      told = await allCommands(api);
      return told.every(isDecided);
    },
    { what: 'the end of every command', withinMs: 60_000 },
  );
  expect(told).toHaveLength(count);
  const undecided = told.filter(({ state }) => !isTerminal(state));
  for (const { state, stateReason } of undecided) {
    expect(state).toBe('INDETERMINATE');
    expect(stateReason).toMatch(/\w+ \w+/);
  }
  expect(begunTwice(effects())).toEqual([]);
  expect(compare(told, effects()).violations).toEqual([]);
  expect(told.flatMap(forbiddenSteps)).toEqual([]);
  for (const cluster of new Set(told.map((command) => command.cluster))) {
    const verified = await stack.api.get(`audit/verify?cluster=${cluster}`);
    expect(verified).toMatchObject({ chain: cluster, ok: true });
  }
  expect(await stack.api.get('audit/verify')).toMatchObject({ ok: true });
}, 150_000);
