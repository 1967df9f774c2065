/**
 * How long it takes to lose everything and have it back: fills the SQL store as a homelab does in a
 * year, makes a backup, wipes the folder, restores, starts, and compares what the API answers before
 * and after. The product's own commands do all of it.
 *
 *   node test/bench/restore.ts [--days 365] [--commands 40] [--decisions 300] [--url mariadb://...]
 *
 * `--commands` and `--decisions` are those of a day. Ends with 99 when an answer differs. The last
 * line is one JSON object; times in seconds.
 */
import { strict as assert } from 'node:assert';
import { copyFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { appendAudit } from '../../backend/audit/chain.ts';
import { ensureCluster, ensureNodes } from '../../backend/store/sql/clusters.ts';
import { type Database, openDatabase } from '../../backend/store/sql/database.ts';
import { realClock } from '../broker/wire.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { commandRow } from '../support/command-row.ts';
import { memoryLog } from '../support/log.ts';
import { runProgram, type Stack, startStack } from '../support/stack.ts';

const { values: asked } = parseArgs({
  options: {
    days: { type: 'string', default: '365' },
    commands: { type: 'string', default: '40' },
    decisions: { type: 'string', default: '300' },
    url: { type: 'string' },
  },
});
const days = Number(asked.days);
const dayMs = 86_400_000;
const cluster = 'home';
const nodes = ['pve1', 'pve2', 'pve3'];
const states = ['PLANNED', 'QUEUED', 'OFFERED', 'GRANTED', 'RUNNING', 'VERIFYING', 'SUCCEEDED'];
const newId = idsOf(virtualClock(Date.now() - days * dayMs), seededRandom(7));

type Trx = Parameters<Parameters<Database['transaction']>[0]>[0];

async function addCommand(trx: Trx, atMs: number, n: number): Promise<void> {
  const id = newId();
  const times = {
    planned_at_ms: atMs,
    expires_at_ms: atMs + 300_000,
    finished_at_ms: atMs + 9_000,
  };
  const who = { cluster, target_id: String(100 + (n % 30)), executor: nodes[n % 3] ?? 'pve1' };
  const state = { state: 'SUCCEEDED', state_reason: 'ok; it runs', ver: states.length };
  const row = commandRow({ id, ...who, ...times, ...state, generation: n + 1, simulated: 0 });
  await trx.insertInto('commands').values(row).execute();
  const history = states.map((name, index) => ({
    command_id: id,
    ver: index + 1,
    state: name,
    at_ms: atMs + index * 1_000,
    actor: 'engine',
    reason: null,
    epoch: 1,
    data: null,
  }));
  await trx.insertInto('command_history').values(history).execute();
  for (const phase of ['opened', 'closed'] as const) {
    await appendAudit(trx, {
      chain: cluster,
      actor: 'engine',
      action: `command.${phase}`,
      subject: `command:${id}`,
      phase: 'done',
      detail: { kind: 'guest.start', target: who.target_id, guards: 31 },
      atMs,
    });
  }
}

const decisionOf = (atMs: number) => ({
  id: newId(),
  cluster,
  at_ms: atMs,
  epoch: 1,
  policy_hash: null,
  inputs_hash: 'f'.repeat(64),
  intents: 0,
  outcome: 'nothing' as const,
  summary: 'nothing is to be done',
  plan: JSON.stringify({ intents: [] }),
  // As large as one that speaks of every node of a small house.
  report: JSON.stringify({ nonActions: nodes.map((id) => ({ id, reason: 'x'.repeat(300) })) }),
  measured: null,
  ver: 1,
});

/** A day is one transaction. */
async function fill(database: Database): Promise<void> {
  const beginMs = Date.now() - days * dayMs;
  await database.transaction(async (trx) => {
    await ensureCluster(trx, { id: cluster, simulated: false, nowMs: beginMs });
    await ensureNodes(trx, { cluster, nodes, nowMs: beginMs });
  });
  for (let day = 0; day < days; day += 1) {
    const atMs = beginMs + day * dayMs;
    await database.transaction(async (trx) => {
      const count = Number(asked.decisions);
      const decisions = Array.from({ length: count }, (_, n) => decisionOf(atMs + n * 60_000));
      for (let at = 0; at < count; at += 100) {
        await trx
          .insertInto('decisions')
          .values(decisions.slice(at, at + 100))
          .execute();
      }
      for (let n = 0; n < Number(asked.commands); n += 1) {
        await addCommand(trx, atMs + n * 60_000, day * Number(asked.commands) + n);
      }
    });
  }
}

const paths = [
  'clusters/home',
  'users',
  'tokens',
  'commands?limit=1000',
  'decisions?limit=1000',
  'audit?cluster=home&limit=1000',
  'audit/verify?cluster=home',
];

async function answers({ api }: Stack): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const path of paths) found[path] = await api.get(path);
  return found;
}

const timed: Record<string, number> = {};
async function time<T>(name: string, work: () => Promise<T>): Promise<T> {
  const beginMs = performance.now();
  const answer = await work();
  timed[`${name}S`] = Math.round((performance.now() - beginMs) / 100) / 10;
  process.stdout.write(`${name}: ${timed[`${name}S`]} s\n`);
  return answer;
}

async function typed({ settings }: Stack, ...args: string[]): Promise<void> {
  const run = runProgram(args, settings);
  const code = await run.exited;
  assert(code === 0, `${args.join(' ')} ended with ${code}: ${run.stderr()}`);
}

async function fillStopped({ settings }: Stack): Promise<void> {
  const file = join(settings['KR_DATA_DIR'] ?? '', 'kernreaktor.sqlite');
  const common = { file, nowMs: () => Date.now(), log: memoryLog() };
  const database = await openDatabase({ ...common, url: asked.url, clock: realClock });
  try {
    await fill(database);
  } finally {
    await database.close();
  }
}

async function main(): Promise<void> {
  const url: Record<string, string> = asked.url === undefined ? {} : { KR_SQL_URL: asked.url };
  // Its own minute must not make a second backup beside the one that is measured.
  const stack = await startStack({ ...url, KR_BACKUP_EVERY_MINUTES: '0' }, { role: 'backend' });
  try {
    const password = 'correct horse battery';
    const token = stack.runtime().setupToken ?? '';
    await stack.api.post('setup', { token, username: 'ada', password });
    await stack.stop();
    await time('fill', () => fillStopped(stack));
    await stack.start();
    const before = await answers(stack);
    const data = stack.settings['KR_DATA_DIR'] ?? '';
    const copy = join(stack.folder, 'copy.age');
    const key = join(stack.folder, 'key.txt');
    await time('backup', () => typed(stack, 'backup', '--out', copy));
    await copyFile(join(data, 'keys', 'backup-identity.txt'), key);
    await stack.stop();
    for (const name of await readdir(data)) await rm(join(data, name), { recursive: true });
    await time('restore', () => typed(stack, 'restore', copy, '--identity', key, '--replace'));
    await time('start', () => stack.start());
    const after = await answers(stack);
    // What the restore itself says, on purpose.
    const differing = paths.filter((path) => !isDeepStrictEqual(before[path], after[path]));
    const { size } = await stat(copy);
    const total = Number(timed['restoreS']) + Number(timed['startS']);
    const rows =
      days * (Number(asked.decisions) + Number(asked.commands) * (1 + states.length + 2));
    const figures = { ...timed, rtoS: Math.round(total * 10) / 10, rows, bytes: size, differing };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    process.exitCode = differing.length > 0 ? 99 : 0;
  } finally {
    await stack.remove();
  }
}

await main();
