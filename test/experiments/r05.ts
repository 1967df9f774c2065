/**
 * R5: the journal after a loss of power. Its bytes are cut at every length and flipped at every
 * byte, and each time the production code opens what is left: always a prefix of what was
 * acknowledged, or set aside as corrupt. Then real processes whose fsync fails (EIO, ENOSPC, put
 * in by strace): after the error nothing more begins, and a restart finds everything that did.
 */
import { randomUUID } from 'node:crypto';
import { type FilePort, memoryFiles } from '../../daemon/command/files.ts';
import { type CommandRecord, type Entry } from '../../daemon/command/journal-format.ts';
import { openJournal } from '../../daemon/command/journal.ts';
import { chance, experiment, type Figures, type Scope, upperBound } from '../support/experiment.ts';
import { judgeExecutor, startExecutorServer } from '../support/executor-server.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import { findStrace, underStrace } from '../support/strace.ts';

const wallMs = () => 1_800_000_000_000;
const open = (files: FilePort) =>
  openJournal({ files, newId: randomUUID, wallMs, log: memoryLog() });

async function holding(bytes: Uint8Array): Promise<FilePort> {
  const files = memoryFiles();
  await files.append('journal', bytes);
  return files;
}

const record = (commandId: string, phase: CommandRecord['phase']): Entry => ({
  type: 'command',
  command: {
    commandId,
    node: 'n1',
    phase,
    seenIncarnation: 1,
    n: 1,
    atMs: wallMs(),
    offer: null,
    grant: null,
    handle: phase === 'started' ? `UPID:ä:${commandId}` : null,
    bootId: null,
    outcome: null,
    unconfirmed: [],
  },
});

type Step = { bytes: number; state: string };

/** A journal of so many commands, and after each acknowledged append its length and its state. */
async function written(commands: number): Promise<{ bytes: Uint8Array; steps: Step[] }> {
  const files = memoryFiles();
  const journal = await open(files);
  const steps: Step[] = [];
  const note = async (): Promise<void> => {
    const bytes = (await files.read('journal')) ?? new Uint8Array();
    steps.push({ bytes: bytes.length, state: JSON.stringify([...journal.state.commands]) });
  };
  await note();
  for (let index = 0; index < commands; index += 1) {
    const id = randomUUID();
    for (const phase of ['received', 'started', 'finished'] as const) {
      await journal.append([{ type: 'epoch', epoch: index + 1 }, record(id, phase)]);
      await note();
    }
  }
  return { bytes: (await files.read('journal')) ?? new Uint8Array(), steps };
}

type Opened = { state: string; quarantined: boolean };

async function opened(bytes: Uint8Array): Promise<Opened> {
  const files = await holding(bytes);
  const journal = await open(files);
  const state = JSON.stringify([...journal.state.commands]);
  const quarantined = (await journal.quarantined()) !== null;
  await journal.close();
  return { state, quarantined };
}

/** I9 at every length: exactly what had been acknowledged up to there. */
async function cuts({ bytes, steps }: Awaited<ReturnType<typeof written>>): Promise<string[]> {
  const violations: string[] = [];
  const first = steps[0]?.bytes ?? 0;
  for (let length = 0; length <= bytes.length; length += 1) {
    const { state, quarantined } = await opened(bytes.subarray(0, length));
    const expected = steps.findLast((step) => step.bytes <= length)?.state ?? '[]';
    // Before its first frame is whole nobody has been told anything by this journal.
    const isFine = state === expected && (!quarantined || length < first);
    if (!isFine)
      violations.push(`cut at ${length}: ${state.length} of ${expected.length} characters`);
  }
  return violations;
}

/** Every byte changed in turn: a prefix of the truth, or set aside and no word of it believed. */
async function flips(
  { bytes, steps }: Awaited<ReturnType<typeof written>>,
  seed: number,
): Promise<{ violations: string[]; quarantined: number }> {
  const draw = chance(seed);
  const states = new Set(steps.map(({ state }) => state));
  const violations: string[] = [];
  let count = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ (1 + draw.below(255));
    const { state, quarantined } = await opened(changed).catch((error: Error) => {
      // "A newer program wrote this" is a refusal to start, which forgets nothing.
      return { state: '[]', quarantined: error.name === 'JournalError' };
    });
    if (quarantined) count += 1;
    if (quarantined ? state !== '[]' : !states.has(state)) violations.push(`flip at ${at}`);
  }
  return { violations, quarantined: count };
}

type Fault = { error: 'EIO' | 'ENOSPC'; when: number };

/** One life with a failing fsync, and one after it on a sound disk. */
async function failingDisk(strace: string, { error, when }: Fault): Promise<string[]> {
  const server = await startExecutorServer();
  try {
    const launch = underStrace(strace, [`fsync:error=${error}:when=${when}+`]);
    await server.start(null, launch);
    const stopped = () => server.logs.find(({ message }) => message.startsWith('journal stopped'));
    const hasFailed = () => stopped() !== undefined || !server.isRunning();
    const asking = setInterval(() => void (server.open() < 4 && server.ask()), 5);
    await until(hasFailed, { what: `a failed fsync (${error} at ${when})` });
    await new Promise((resolve) => setTimeout(resolve, 700));
    clearInterval(asking);
    const [atError, after] = [stopped()?.effects ?? 0, server.effects().length];
    server.signal('SIGKILL');
    await server.kill9();
    await until(() => !server.isRunning());
    await server.start();
    await until(() => server.open() === 0, { what: 'the end of every command', withinMs: 60_000 });
    const more =
      after > atError ? [`${after - atError} starts after ${error} at fsync ${when}`] : [];
    return [...more, ...judgeExecutor(server)];
  } finally {
    await server.close();
  }
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const draw = chance(seed);
  const journal = await written(n);
  const cut = await cuts(journal);
  say(`${journal.bytes.length + 1} cuts, ${cut.length} wrong`);
  const flipped = await flips(journal, seed);
  say(`${journal.bytes.length} flips, ${flipped.violations.length} wrong`);
  const strace = await findStrace();
  const faults: Fault[] = [];
  const failing: string[] = [];
  // The first fsyncs make the journal itself: there the process must not come to serve at all.
  const lives = strace === undefined ? 0 : Math.max(4, n);
  for (let turn = 0; turn < lives; turn += 1) {
    const fault = { error: turn % 2 === 0 ? 'EIO' : 'ENOSPC', when: 5 + draw.below(30) } as const;
    faults.push(fault);
    failing.push(...(await failingDisk(strace ?? '', fault)));
    if (turn % 10 === 9) say(`${turn + 1} failing disks, ${failing.length} wrong`);
  }
  return {
    commands: n,
    journalBytes: journal.bytes.length,
    cuts: journal.bytes.length + 1,
    flips: journal.bytes.length,
    flipsQuarantined: flipped.quarantined,
    failedFsyncs: faults.length,
    straceFound: strace !== undefined,
    upperBound: upperBound(journal.bytes.length + 1),
    violations: [...cut, ...flipped.violations, ...failing],
  };
}

export const r05 = experiment(import.meta, { name: 'R5', short: 4, long: 60, run });
