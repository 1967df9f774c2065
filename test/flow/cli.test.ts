/**
 * The command line as a person types it, against the product and a simulated cluster: what it
 * prints, its exit codes, and that what it asks for is done.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/servers.ts';
import { runProgram, simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';

let stack: Stack;
let simulation: Simulation;

async function typed(
  ...args: string[]
): Promise<{ code: number | null; out: string; err: string }> {
  const run = runProgram(args, { KR_DATA_DIR: stack.settings['KR_DATA_DIR'] ?? '' });
  const code = await run.exited;
  return { code, out: run.stdout(), err: run.stderr() };
}

async function answered<T>(...args: string[]): Promise<T> {
  const { code, out, err } = await typed(...args, '--json');
  expect({ args, code, err }).toEqual({ args, code: 0, err: '' });
  return JSON.parse(out) as T;
}

/** The picture of the fleet follows with its next tick. */
const held = (clusters: string[]): Promise<void> =>
  until(
    async () => {
      const now = await stack.api.get<{ clusters: string[] }>('hold');
      return now.clusters.join() === clusters.join();
    },
    { withinMs: 20_000, what: `HOLD of ${clusters.join() || 'nothing'}` },
  );

type Row = { id: string; cluster: string; state: string; node: string; name: string };

beforeAll(async () => {
  stack = await startStack();
  const fleet = ['--nodes', '4', '--guests', '3', '--interval', '1', '--seed', '5'];
  simulation = simulate(stack, [...fleet, '--time-scale', '60', '--minutes', '8']);
  await until(
    async () => {
      if (simulation.run.isOver()) throw new Error(`simulate ended: ${simulation.run.stderr()}`);
      // The cluster itself is there only after its first node.
      const { total } = await stack.api.get<{ total: number }>('guests?limit=1');
      return total >= 8;
    },
    { withinMs: 60_000, what: 'guests' },
  );
}, 120_000);
afterAll(async () => {
  simulation?.run.signal('SIGKILL');
  await simulation?.run.exited;
  await stack?.remove();
});

describe('looking', () => {
  it('says how the clusters are, in a table and as JSON', async () => {
    const { code, out } = await typed('status');
    expect(code).toBe(0);
    expect(out).toMatch(/^CLUSTER +NODES +GUESTS +BY ITSELF/);
    expect(out).toMatch(/^sim-001 +4 awake/m);
    const { clusters } = await answered<{ clusters: Row[] }>('status');
    expect(clusters.map(({ id }) => id)).toContain('sim-001');
  });

  it('lists nodes and guests, by cluster and state', async () => {
    const nodes = await answered<Row[]>('nodes', '--cluster', 'sim-001');
    expect(nodes).toHaveLength(4);
    const { out } = await typed('nodes', '--cluster', 'sim-001', '--state', 'awake');
    expect(out.trim().split('\n')).toHaveLength(5);
    const guests = await answered<Row[]>('guests', '--cluster', 'sim-001', '--state', 'running');
    expect(guests.every(({ state }) => state === 'running')).toBe(true);
    expect(guests.length).toBeGreaterThan(3);
  });

  it('draws top once where nobody watches a terminal', async () => {
    const { code, out } = await typed('top');
    expect(code).toBe(0);
    expect(out).toMatch(/^\d of \d nodes awake, cpu /);
  });

  it('refuses who does not exist, and says how to find who does', async () => {
    const { code, err } = await typed('why', 'nobody');
    expect(code).toBe(2);
    expect(err).toContain('kernreaktor nodes and kernreaktor guests list them');
  });
});

describe('acting', () => {
  const runningGuest = async (): Promise<Row> => {
    const guests = await answered<Row[]>('guests', '--cluster', 'sim-001', '--state', 'running');
    const [guest] = guests;
    if (!guest) throw new Error('no guest runs');
    return guest;
  };

  it('restarts a guest, says each step, and ends with 0 when it is done', async () => {
    const guest = await runningGuest();
    const name = `sim-001/${guest.id}`;
    const { code, out, err } = await typed('act', 'guest.restart', name, '--reason', 'a test');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const steps = out.trim().split('\n');
    expect(steps[0]).toMatch(/^guest\.restart sim-001\/\S+: command [\da-f-]{36}$/);
    expect(steps.at(-1)).toMatch(/^succeeded/);
    const effects = simulation.effects().filter(({ guest: id }) => id === guest.id);
    expect(effects.length).toBeGreaterThan(0);
  });

  it('asks whether a command would be let through, and does nothing', async () => {
    const guest = await runningGuest();
    const name = `sim-001/${guest.id}`;
    const before = await stack.api.get<{ total: number }>('commands?limit=1');
    const allowed = await typed('act', 'guest.restart', name, '--dry-run');
    expect(allowed).toMatchObject({ code: 0, err: '' });
    expect(allowed.out).toContain('nothing was done');
    const here = ['--arg', `targetNode=${guest.node}`];
    const refused = await typed('act', 'guest.migrate', name, ...here, '--dry-run');
    expect([2, 3]).toContain(refused.code);
    expect(`${refused.out}${refused.err}`).toContain('KR_');
    const after = await stack.api.get<{ total: number }>('commands?limit=1');
    expect(after.total).toBe(before.total);
  });

  it('keeps a node awake for a while, and lets it sleep again', async () => {
    const [node] = await answered<Row[]>('nodes', '--cluster', 'sim-001');
    const name = `sim-001/${node?.id ?? ''}`;
    expect((await typed('keep-awake', name, '--for', '4h')).out).toMatch(/stays awake until 20/);
    expect((await typed('keep-awake', name, '--for', 'long')).err).toContain('write 90m, 4h or 2d');
    const row = (id: string) => `node:${id.split('/')[1]}`;
    const audit = await stack.api.get<{ items: { action: string; subject: string }[] }>(
      'audit?cluster=sim-001&limit=200',
    );
    const kept = audit.items.filter(({ action }) => action === 'node.kept-awake');
    expect(kept.map(({ subject }) => subject)).toEqual([row(name)]);
    expect((await typed('keep-awake', name, '--end')).out).toContain('may sleep again');
  });

  it('empties a node for its maintenance, and brings its guests back', async () => {
    const { id, node } = await runningGuest();
    const name = `sim-001/${node}`;
    const whereIs = async () =>
      (await stack.api.get<{ node: string }>(`clusters/sim-001/guests/${id}`)).node;
    const isIn = async (state: string) =>
      (await stack.api.get<{ state: string }>(`clusters/sim-001/nodes/${node}`)).state === state;
    const { out } = await typed('maintenance', name, '--reason', 'new fans');
    expect(out).toContain(`${name} is being emptied`);
    await until(() => isIn('maintenance'), {
      withinMs: 120_000,
      what: `${name} empty and in hand`,
    });
    expect(await whereIs()).not.toBe(node);
    expect((await typed('maintenance', name, '--end')).out).toContain('come back');
    const isOver = async () =>
      (await stack.api.get<{ evacuation: unknown }>(`clusters/sim-001/nodes/${node}`))
        .evacuation === null;
    await until(isOver, { withinMs: 120_000, what: `the guests of ${name} back` });
    expect(await whereIs()).toBe(node);
    const { items } = await stack.api.get<{ items: { actor: string; origin: string }[] }>(
      'commands?cluster=sim-001&kind=guest.migrate&limit=50',
    );
    expect(items.map(({ origin }) => origin)).toContain('system');
    expect((await typed('maintenance', name, '--end', '--sleep')).err).toContain('--end takes');
  }, 260_000);

  it('names the argument that is wrong before anything is sent', async () => {
    const guest = await runningGuest();
    const before = await stack.api.get<{ total: number }>('commands?limit=1');
    const wrong = await typed(
      'act',
      'guest.scale',
      `sim-001/${guest.id}`,
      '--arg',
      'cpuCount=lots',
    );
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('cpuCount');
    const unknown = await typed('act', 'guest.fly', `sim-001/${guest.id}`);
    expect(unknown.err).toContain('guest.migrate');
    const after = await stack.api.get<{ total: number }>('commands?limit=1');
    expect(after.total).toBe(before.total);
  });

  it('ends with 3 when the guards refuse it, with their reason', async () => {
    const guest = await runningGuest();
    const here = `targetNode=${guest.node}`;
    const { code, out, err } = await typed(
      'act',
      'guest.migrate',
      `sim-001/${guest.id}`,
      '--arg',
      here,
    );
    expect([2, 3]).toContain(code);
    expect(`${out}${err}`).toMatch(/KR_|rejected/);
  });

  it('stops one cluster and lets it go on', async () => {
    expect((await typed('hold', 'sim-001', '--reason', 'a test')).out).toContain('on HOLD');
    await held(['sim-001']);
    expect((await typed('status')).out).toMatch(/^sim-001 .*HOLD$/m);
    expect((await typed('hold', 'sim-001', '--release')).code).toBe(0);
    await held([]);
  });

  it('lists what was asked for', async () => {
    const commands = await answered<Row[]>('commands', '--cluster', 'sim-001');
    expect(commands.some(({ state }) => state === 'SUCCEEDED')).toBe(true);
  });
});

describe('notifications', () => {
  it('go through channels that are added, tried and removed by name, without any secret shown', async () => {
    const secret = join(stack.folder, 'token');
    writeFileSync(secret, 'tk_very-secret\n');
    const words = ['--kind', 'gotify', '--set', 'url=http://127.0.0.1:9', '--secret-file', secret];
    expect(await typed('notify', 'add', 'phone', ...words)).toMatchObject({ code: 0, err: '' });
    const listed = await typed('notify', 'list', '--json');
    expect(listed.out).toContain('"kind": "gotify"');
    expect(listed.out).not.toContain('very-secret');
    const tried = await typed('notify', 'test', 'phone');
    expect(tried).toMatchObject({ code: 2 });
    expect(tried.err).toContain('127.0.0.1:9 was not reached');
    const open = ['--kind', 'gotify', '--set', 'token=tk_open'];
    expect((await typed('notify', 'add', 'other', ...open)).err).toContain('use --secret-file');
    expect((await typed('notify', 'dead')).out).toContain('everything was delivered');
    const file = join(stack.folder, 'notify.yaml');
    writeFileSync(file, 'quiet: {from: "22:00", to: "07:00", zone: Europe/Berlin}\n');
    expect((await typed('notify', 'settings', '--file', file)).out).toContain(
      'zone: Europe/Berlin',
    );
    expect((await typed('notify', 'remove', 'phone')).code).toBe(0);
    expect((await typed('notify')).out).toContain('no channel yet');
  });
});

describe('quotas', () => {
  it('are set, shown beside what is taken, and taken away again', async () => {
    const set = await typed('quota', 'set', '--cluster', 'sim-001', '--cpus', '12');
    expect(set).toMatchObject({ code: 0, err: '' });
    expect(set.out).toBe('cluster sim-001: 12 cpus and any memory\n');
    const more = ['--cluster', 'sim-001', '--memory', '1.5T'];
    const limit = await answered<object>('quota', 'set', ...more);
    expect(limit).toEqual({ cpuCount: 12, memoryBytes: 1.5 * 2 ** 40 });
    expect((await typed('quota')).out).toMatch(/^cluster sim-001 +\d+ +12 +\S+ \w+ +1\.5 TiB$/m);
    for (const [wrong, word] of [
      [['--cpus', 'many'], 'a whole number'],
      [['--memory', '64'], '64G'],
      [['--cpus', '1', '--account', 'nobody'], 'kernreaktor user list'],
      [['--cpus', '1', '--cluster', 'a', '--each-account-on-lxd'], 'name one of'],
      [[], 'say what'],
    ] as const) {
      const { code, err } = await typed('quota', 'set', ...wrong);
      expect({ wrong, code }).toEqual({ wrong, code: 2 });
      expect(err).toContain(word);
    }
    expect((await typed('quota', 'remove', '--cluster', 'sim-001')).code).toBe(0);
    const { quotas } = await answered<{ quotas: { clusters: object } }>('quota');
    expect(quotas.clusters).toEqual({});
  });
});

/** Those that answer nothing a program could read: they run on, or print a script or a document. */
const wordless =
  /^(start|backend|ingest|demo|daemon|broker|docs|simulate.*|completion|config schema)$/;

it('answers as JSON whatever is asked', async () => {
  const { out } = await typed('completion', 'bash');
  const commands = [...out.matchAll(/^ {4}"([a-z -]+)"\) words="([^"]*)"/gm)].map(
    ([, path, words]) => ({
      path: path ?? '',
      words: words?.split(' ') ?? [],
    }),
  );
  expect(commands.length).toBeGreaterThan(50);
  const leaves = commands.filter(({ words }) => words.every((word) => word.startsWith('--')));
  const without = leaves.filter(({ words }) => !words.includes('--json'));
  expect(without.map(({ path }) => path).filter((path) => !wordless.test(path))).toEqual([]);
});

describe('what is typed wrongly', () => {
  it('ends with 2, as documented, and says where to look', async () => {
    for (const args of [['nonsense'], ['token', 'add'], ['resolve', 'x', '--outcome', 'maybe']]) {
      const { code, err } = await typed(...args);
      expect({ args, code }).toEqual({ args, code: 2 });
      expect(err).toContain('--help tells what there is');
    }
    expect(await typed('nodes', '--help')).toMatchObject({ code: 0, err: '' });
  });
});

describe('without a server', () => {
  it('says in one line how to reach one', async () => {
    const run = runProgram(['status'], { KR_DATA_DIR: stack.folder });
    expect(await run.exited).toBe(2);
    expect(run.stderr()).toContain('no server runs in');
  });
});
