/**
 * The server's side for an executor in a process of its own: it offers, grants the newest claim,
 * answers every report with its verdict, and offers again what has no end yet. It restarts the
 * process when that dies. What it asked for and what it was told is kept for the judge.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Offer } from '../../broker/contract/command.ts';
import type { Report } from '../../broker/contract/report.ts';
import type { FromExecutor, ToExecutor } from '../../daemon/command/executor-port.ts';
import { createSigner } from '../daemon/command/rig.ts';
import type { FromProcess, Fuse } from './executor-process.ts';
import { until } from './servers.ts';

type Asked = { offer: Offer; end: Extract<Report, { step: 'finished' | 'refused' }> | null };

const body = join(import.meta.dirname, 'executor-process.ts');
const offerEveryMs = 150;

export type Launch = (args: string[]) => ChildProcess;
const plainly: Launch = (args) =>
  fork(body, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
/** The command line of the same process, for those who start it under another program. */
export const executorProgram = body;

export async function startExecutorServer(parent = tmpdir()) {
  const home = await mkdtemp(join(tmpdir(), 'kr-executor-'));
  const folder = await mkdtemp(join(parent, 'journal-'));
  const effectLog = join(home, 'effects.jsonl');
  const signer = createSigner();
  const asked = new Map<string, Asked>();
  const logs: Extract<FromProcess, { type: 'log' }>[] = [];
  let child: ChildProcess | null = null;
  let starts = 0;

  const deliver = (message: ToExecutor): void => {
    if (child?.connected) child.send({ type: 'deliver', message }, () => undefined);
  };
  const give = ({ offer, end }: Asked): void => {
    if (end === null) deliver({ name: 'offer', node: 'n1', body: offer });
  };
  function answer(message: FromExecutor): void {
    if (message.name === 'goodbye' || message.name === 'changed') return;
    const { commandId } = message.body;
    const known = asked.get(commandId);
    if (!known) return;
    if (message.name === 'claim') {
      const { kind, target, args, generation, epoch } = known.offer;
      const terms = { commandId, kind, target, args, generation, epoch };
      const more = { nonce: message.body.nonce, simulated: false, timeoutMs: 60_000, timeScale: 1 };
      const head = { v: 1, type: 'grant', cluster: 'home', node: 'n1', policyHash: null };
      return deliver({
        name: 'grant',
        node: 'n1',
        body: signer.sign({ ...head, ...terms, ...more }),
      });
    }
    const report = message.body;
    if (report.step === 'finished' || report.step === 'refused') known.end ??= report;
    const state =
      known.end === null ? 'RUNNING' : known.end.step === 'finished' ? 'SUCCEEDED' : 'REJECTED';
    const { n } = report;
    deliver({ name: 'verdict', node: 'n1', body: { commandId, n, state, reason: null } });
  }
  const timer = setInterval(() => {
    for (const one of asked.values()) give(one);
  }, offerEveryMs);

  return {
    folder,
    effectLog,
    asked,
    logs,
    starts: () => starts,
    isRunning: () => child !== null,
    signal: (name: NodeJS.Signals) => void child?.kill(name),
    /** Command ids in the order in which their effects began; written by the process alone. */
    effects: (): string[] =>
      readFileSync(effectLog, 'utf8')
        .split('\n')
        .slice(0, -1)
        .map((line) => (JSON.parse(line) as { commandId: string }).commandId),
    /** False when it died before it was ready. */
    async start(fuse: Fuse | null = null, launch = plainly): Promise<boolean> {
      starts += 1;
      const args = [folder, effectLog, JSON.stringify(signer.key), JSON.stringify(fuse)];
      const started = launch(args);
      child = started;
      let isReady = false;
      started.on('message', (message: FromProcess) => {
        if (message.type === 'ready') isReady = true;
        if (message.type === 'log') logs.push(message);
        if (message.type === 'said') answer(message.message);
      });
      started.once('exit', () => {
        if (child === started) child = null;
      });
      await until(() => isReady || child !== started, { what: 'the executor' });
      return isReady;
    },
    async kill9(): Promise<void> {
      const running = child;
      if (!running) return;
      running.kill('SIGKILL');
      if (running.exitCode === null && running.signalCode === null) await once(running, 'exit');
    },
    /** A new wish; its end comes in `asked`. */
    ask(): Asked {
      const commandId = randomUUID();
      const target = { kind: 'guest', id: String(100 + asked.size) } as const;
      const terms = { kind: 'guest.start', target, args: {}, generation: 1, epoch: 1 } as const;
      const one: Asked = { offer: { commandId, ...terms, ttlMs: 600_000 }, end: null };
      asked.set(commandId, one);
      give(one);
      return one;
    },
    open: () => [...asked.values()].filter(({ end }) => end === null).length,
    async close(): Promise<void> {
      clearInterval(timer);
      const running = child;
      child = null;
      running?.kill('SIGKILL');
      await rm(home, { recursive: true });
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type ExecutorServer = Awaited<ReturnType<typeof startExecutorServer>>;

/** Every effect once at most and only of what was asked; finished means begun, refused means not. */
export function judgeExecutor(server: ExecutorServer): string[] {
  const counts = new Map<string, number>();
  for (const id of server.effects()) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [
    ...[...counts].filter(([, count]) => count > 1).map(([id]) => `twice: ${id}`),
    ...[...counts.keys()].filter((id) => !server.asked.has(id)).map((id) => `phantom: ${id}`),
    ...[...server.asked.values()].flatMap(({ offer: { commandId }, end }) => {
      const count = counts.get(commandId) ?? 0;
      if (end === null) return [`no end: ${commandId}, begun ${count} times`];
      if (end.step === 'refused') return count === 0 ? [] : [`refused and begun: ${commandId}`];
      // Begun and lost before it happened: a started record, no effect, seen to be absent.
      return count === 1 || end.postcondition !== true
        ? []
        : [`done and never begun: ${commandId}`];
    }),
  ];
}
