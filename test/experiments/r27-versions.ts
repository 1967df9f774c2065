/**
 * R27, daemons and servers of different versions: an earlier commit of this repository is checked
 * out beside today's. Its daemons serve today's server, today's daemons serve its server, and a
 * server is replaced by today's under its daemons' commands, by kill -9. Everything asked for must
 * be done, once; a daemon on a host of its own must come in; a kind of command that a version does
 * not know must be refused; the old server must not open tables that were brought forward.
 *
 *   node test/experiments/r27-versions.ts --commit HEAD~300 [--n 12]
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, symlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CommandState, commandArgs, isTerminal } from '../../broker/contract/command.ts';
import { experiment, type Figures, type Scope, upperBound } from '../support/experiment.ts';
import { until } from '../support/servers.ts';
import {
  begunTwice,
  runProgram,
  type Settings,
  simulate,
  type Simulation,
  type Stack,
  startStack,
} from '../support/stack.ts';

const root = join(import.meta.dirname, '..', '..');
const git = (...args: string[]): string =>
  execFileSync('git', ['-C', root, ...args], { encoding: 'utf8' }).trim();

type Version = { name: string; program: string; migrations: string[] };
type Guest = { cluster: string; id: string; node: string; state: string };
type Asked = { id: string; kind: string };
type Told = { state: CommandState; stateReason: string | null };
type Node = { cluster: string; id: string; state: string };

const migrationsOf = (folder: string): string[] =>
  readdirSync(join(folder, 'backend', 'store', 'sql', 'migrations')).filter((name) =>
    /^\d/.test(name),
  );

const versionAt = (folder: string, name: string): Version => ({
  name,
  program: join(folder, 'bin', 'kernreaktor'),
  migrations: migrationsOf(folder),
});

/** Today's packages serve both: those of an earlier commit are among them, or the start says so. */
function checkOut(commit: string, folder: string): Version {
  git('worktree', 'add', '--detach', '--force', folder, commit);
  rmSync(join(folder, 'node_modules'), { recursive: true, force: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return versionAt(folder, git('rev-parse', '--short', commit));
}

const fleetSize = 4;
const fleet =
  `--nodes ${fleetSize} --nodes-per-cluster ${fleetSize} --guests 4 --interval 1 --minutes 600 ` +
  '--time-scale 60';

const nodesOf = async ({ api }: Stack, cluster: string): Promise<Node[]> =>
  (await api.get<{ items: Node[] }>(`nodes?limit=500&cluster=${cluster}`)).items;

const guestsOf = async ({ api }: Stack, state: string): Promise<Guest[]> =>
  (await api.get<{ items: Guest[] }>('guests?limit=500')).items.filter(
    (guest) => guest.cluster === 'sim-001' && guest.state === state,
  );

const awake = (stack: Stack, run: Simulation['run']): Promise<void> =>
  until(
    async () => {
      if (run.isOver()) throw new Error(`simulate ended: ${run.stderr().slice(-2_000)}`);
      const nodes = await nodesOf(stack, 'sim-001').catch(() => []);
      return (
        nodes.filter(({ state }) => state === 'awake').length === fleetSize &&
        (await guestsOf(stack, 'running')).length >= fleetSize
      );
    },
    { withinMs: 180_000, what: 'the fleet awake' },
  );

type Order = { kind: string; guest: Guest; args?: object };

async function ask({ api }: Stack, { kind, guest, args = {} }: Order): Promise<Asked | string> {
  const { cluster, node, id } = guest;
  const body = { cluster, kind, node, args, ...(kind.startsWith('guest.') && { guest: id }) };
  const answer = await api.post<{ id: string; code?: string }>('commands', body);
  return answer.status === 202 ? { id: answer.body.id, kind } : (answer.body.code ?? 'no code');
}

const told = ({ api }: Stack, { id }: Asked): Promise<Told> => api.get<Told>(`commands/${id}`);

async function ended(stack: Stack, asked: readonly Asked[]): Promise<Record<string, number>> {
  const states = new Map<string, Told>();
  await until(
    async () => {
      for (const one of asked.filter(({ id }) => !states.has(id))) {
        const now = await told(stack, one).catch(() => null);
        if (now && isTerminal(now.state)) states.set(one.id, now);
      }
      return states.size === asked.length;
    },
    { withinMs: 240_000, what: 'every command to end' },
  );
  const counts: Record<string, number> = {};
  for (const { id, kind } of asked) {
    const { state, stateReason } = states.get(id) ?? { state: 'lost', stateReason: null };
    const word = state === 'SUCCEEDED' ? state : `${kind} ${state}: ${stateReason ?? ''}`;
    counts[word] = (counts[word] ?? 0) + 1;
  }
  return counts;
}

/** A move, a scaling, a stop and `n` restarts, on guests of their own. */
async function askAll(stack: Stack, n: number): Promise<{ asked: Asked[]; refused: string[] }> {
  const guests = await guestsOf(stack, 'running');
  const [moved, cut, stopped, ...rest] = guests as [Guest, Guest, Guest, ...Guest[]];
  const target = (await nodesOf(stack, 'sim-001')).find(({ id }) => id !== moved.node)?.id ?? '';
  const orders: Order[] = [
    { kind: 'guest.migrate', guest: moved, args: { targetNode: target } },
    { kind: 'guest.scale', guest: cut, args: { cpuCount: 1 } },
    { kind: 'guest.stop', guest: stopped, args: { timeoutMs: 60_000 } },
    ...rest.slice(0, n).map((guest) => ({ kind: 'guest.restart', guest })),
  ];
  const answers: (Asked | string)[] = [];
  for (const order of orders) answers.push(await ask(stack, order));
  return {
    asked: answers.filter((answer) => typeof answer !== 'string'),
    refused: answers.flatMap((answer, index) =>
      typeof answer === 'string' ? [`${orders[index]?.kind ?? ''} refused: ${answer}`] : [],
    ),
  };
}

/** Nothing is lost and nothing begins twice; a refusal is no loss, and stands in the figures. */
const lostOrTwice = (
  where: string,
  counts: Record<string, number>,
  world: Simulation,
): string[] => [
  ...Object.keys(counts)
    .filter((word) => word !== 'SUCCEEDED' && !word.includes(' REJECTED: '))
    .map((word) => `${where}: ${word}`),
  ...begunTwice(world.effects()).map((id) => `${where}: ${id} began twice`),
];

const refusedIn = (where: string, counts: Record<string, number>): string[] =>
  Object.keys(counts).flatMap((word) =>
    word.includes(' REJECTED: ') ? [`${where}: ${word}`] : [],
  );

/** A daemon of a real host, let in by a token as a person would; null, or why it is not heard. */
async function keptOut(stack: Stack, { program }: Version): Promise<string | null> {
  const order = { cluster: 'house', node: 'box' };
  const { body } = await stack.api.post<{ token: string }>('enrolments', order);
  const settings: Settings = {
    KR_DATA_DIR: join(stack.folder, 'box'),
    KR_MQTT_URL: stack.runtime().mqttUrl,
    KR_CLUSTER: order.cluster,
    KR_NODE: order.node,
    KR_ENROL_TOKEN: body.token,
    KR_SAMPLE_INTERVAL_MS: '1000',
  };
  const daemon = runProgram(['daemon'], settings, program);
  try {
    await until(
      async () => (await nodesOf(stack, 'house')).some(({ state }) => state === 'awake'),
      { withinMs: 60_000, what: 'the host' },
    );
    return null;
  } catch (error) {
    return `${String(error)} ${daemon.stderr().slice(-500)}`;
  } finally {
    await daemon.stop();
  }
}

/** What today's contract has and the drivers of the old fleet do not must be refused. */
async function refusals(stack: Stack): Promise<{ tried: string[]; taken: string[] }> {
  const [guest] = await guestsOf(stack, 'running');
  if (!guest) return { tried: [], taken: [] };
  const path = `clusters/${guest.cluster}/nodes/${guest.node}`;
  const { capabilities } = await stack.api.get<{ capabilities: string[] }>(path);
  const tried = Object.keys(commandArgs).filter((kind) => !capabilities.includes(kind));
  const taken: string[] = [];
  for (const kind of tried) {
    const answer = await ask(stack, { kind, guest });
    if (typeof answer === 'string') continue;
    await ended(stack, [answer]);
    if ((await told(stack, answer)).state === 'SUCCEEDED') taken.push(kind);
  }
  return { tried, taken };
}

type Part = { figures: object; violations: string[] };

/** One version's server with the other's daemons. */
async function beside(server: Version, daemons: Version, { n, seed, say }: Scope): Promise<Part> {
  const where = `server ${server.name}, daemons ${daemons.name}`;
  const stack = await startStack({}, { hasFixedPorts: true, program: server.program });
  const options = [...fleet.split(' '), '--seed', String(seed)];
  const simulation = simulate(stack, options, {}, daemons.program);
  try {
    await awake(stack, simulation.run);
    const outside = await keptOut(stack, daemons);
    const { asked, refused } = await askAll(stack, n);
    const counts = await ended(stack, asked);
    const unknown = await refusals(stack);
    say(`${where}: ${JSON.stringify({ counts, refused, unknown, outside })}`);
    return {
      figures: { where, asked: asked.length, counts, unknownKinds: unknown.tried },
      violations: [
        ...(outside === null ? [] : [`${where}: a host was not let in: ${outside}`]),
        ...refused.map((why) => `${where}: ${why}`),
        ...unknown.taken.map((kind) => `${where}: ${kind} was carried out`),
        ...refusedIn(where, counts),
        ...lostOrTwice(where, counts, simulation),
      ],
    };
  } finally {
    simulation.run.signal('SIGKILL');
    await simulation.run.exited;
    await stack.remove();
  }
}

/**
 * The old server dies with commands under way, and today's takes its folder over. What the old one
 * had not written down is not known until the daemons have told it, and what is not known denies.
 */
async function replaced(old: Version, now: Version, { n, seed, say }: Scope): Promise<Part> {
  const where = `${old.name} replaced by ${now.name}`;
  const stack = await startStack({}, { hasFixedPorts: true, program: old.program });
  const options = [...fleet.split(' '), '--seed', String(seed)];
  const simulation = simulate(stack, options, {}, old.program);
  try {
    await awake(stack, simulation.run);
    const { asked } = await askAll(stack, n);
    await stack.kill9();
    await stack.start(now.program);
    const open = await ended(stack, asked);
    await awake(stack, simulation.run);
    const after = await askAll(stack, n);
    const later = await ended(stack, after.asked);
    await stack.stop();
    const isNewer = now.migrations.length > old.migrations.length;
    const refusal = isNewer ? await backwards(stack, old) : 'the same tables';
    say(`${where}: ${JSON.stringify({ open, later, refused: after.refused, refusal })}`);
    const total = asked.length + after.asked.length;
    return {
      figures: { where, asked: total, counts: { open, later }, backwards: refusal },
      violations: [
        ...(refusal === null ? [`${where}: the old server opened newer tables`] : []),
        ...after.refused.map((why) => `${where}: ${why}`),
        ...lostOrTwice(where, open, simulation),
        ...lostOrTwice(where, later, simulation),
      ],
    };
  } finally {
    simulation.run.signal('SIGKILL');
    await simulation.run.exited;
    await stack.remove();
  }
}

/** What the old server says of newer tables; null: it took them. */
async function backwards(stack: Stack, old: Version): Promise<string | null> {
  const run = runProgram(['start'], stack.settings, old.program);
  const isUp = until(async () => run.stdout().includes('listens on') || run.isOver(), {
    withinMs: 120_000,
    what: 'the old server to start or to refuse',
  });
  await isUp;
  if (run.isOver() && (await run.exited) !== 0) return run.stderr().trim().slice(-300);
  await run.stop();
  return null;
}

async function run(scope: Scope): Promise<Figures> {
  const { commit = 'HEAD~1' } = scope;
  const folder = await mkdtemp(join(tmpdir(), 'kr-r27-'));
  const worktree = join(folder, 'old');
  try {
    const old = checkOut(commit, worktree);
    const now = versionAt(root, 'today');
    const parts = [
      await beside(now, old, scope),
      await beside(old, now, scope),
      await replaced(old, now, scope),
    ];
    const asked = parts.flatMap(({ figures }) =>
      'asked' in figures ? [Number(figures.asked)] : [],
    );
    const total = asked.reduce((sum, count) => sum + count, 0);
    return {
      commit: old.name,
      commitsBefore: Number(git('rev-list', '--count', `${old.name}..HEAD`)),
      parts: parts.map(({ figures }) => figures),
      commands: total,
      upperBound: upperBound(total || 1),
      violations: parts.flatMap(({ violations }) => violations),
    };
  } finally {
    git('worktree', 'remove', '--force', worktree);
    await rm(folder, { recursive: true, force: true });
  }
}

export const r27Versions = experiment(import.meta, {
  name: 'r27-versions',
  short: 2,
  long: 8,
  run,
});
