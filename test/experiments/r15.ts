/**
 * R15: a full disk under the executor's journal, under MariaDB, and under the backend's own data
 * folder (metrics, spool, files). New commands are refused with the reason, what runs is finished
 * and written down, and when there is room again everything works without anybody's hand.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { experiment, type Figures, pauseMs, type Scope } from '../support/experiment.ts';
import { judgeExecutor, startExecutorServer } from '../support/executor-server.ts';
import { startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';
import type { Settings } from '../support/stack.ts';

const run = promisify(execFile);

type Disk = {
  folder: string;
  fill(): Promise<void>;
  free(): Promise<void>;
  remove(): Promise<void>;
};

/** A small file system of its own; undefined where this user may not mount one. */
async function smallDisk(mebibytes: number): Promise<Disk | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-disk-'));
  const options = `size=${mebibytes}m,mode=0700`;
  try {
    await run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  } catch {
    await rm(folder, { recursive: true });
    return undefined;
  }
  const filler = join(folder, 'filler');
  return {
    folder,
    async fill() {
      const { bavail, bsize } = await statfs(folder);
      await writeFile(filler, Buffer.alloc(bavail * bsize), { flag: 'a' }).catch(() => undefined);
      // The last pages one by one, until not even one more fits.
      for (let left = 64; left > 0; left -= 1) {
        const isFull = await writeFile(filler, Buffer.alloc(4_096), { flag: 'a' }).then(
          () => false,
          () => true,
        );
        if (isFull) return;
      }
    },
    free: () => rm(filler, { force: true }),
    async remove() {
      await run('umount', ['-l', folder]);
      await rm(folder, { recursive: true });
    },
  };
}

const lateMax = 40;

async function journal(disk: Disk, turns: number) {
  const server = await startExecutorServer(disk.folder);
  const violations: string[] = [];
  let refused = 0;
  try {
    await server.start();
    for (let turn = 0; turn < turns; turn += 1) {
      for (let index = 0; index < 5; index += 1) server.ask();
      await until(() => server.open() === 0, { what: 'commands on a free disk' });
      for (let index = 0; index < 5; index += 1) server.ask();
      await disk.fill();
      await until(() => server.open() === 0, {
        what: 'the end of what ran when the disk was full',
      });
      // The journal's last page and its reserve take a few more; then there is nothing left.
      let end: string | undefined = 'finished';
      for (let late = 0; late < lateMax && end !== 'refused'; late += 1) {
        const asked = server.ask();
        await until(() => asked.end !== null, { what: 'an end on a full disk' });
        end = asked.end?.step;
      }
      if (end === 'refused') refused += 1;
      else violations.push('no command was refused on a full disk');
      await disk.free();
      const after = server.ask();
      await until(() => after.end !== null, { what: 'a command when there is room again' });
      if (after.end?.step !== 'finished') {
        violations.push(`not taken up again: ${JSON.stringify(after.end)}`);
      }
    }
    const commands = server.asked.size;
    return { turns, refused, commands, violations: [...violations, ...judgeExecutor(server)] };
  } finally {
    await server.close();
  }
}

const isDefunct = (pid: number): boolean =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');

/** The database, or the data folder of the backend, is full for `lastMs` under work. */
async function stores(which: 'mariadb' | 'data', disk: Disk, lastMs: number, seed: number) {
  const settings: Settings = which === 'data' ? { KR_DATA_DIR: join(disk.folder, 'data') } : {};
  const parent = which === 'mariadb' ? { mariadbParent: disk.folder } : {};
  const loaded = await startLoaded({ seed, settings, ...parent });
  try {
    const { stack, load, simulation, mariadb } = loaded;
    await pauseMs(2_000);
    await disk.fill();
    const fromMs = performance.now();
    const received = async () => (await stack.api.ingestFigures())['received'] ?? 0;
    const before = await received();
    await pauseMs(lastMs);
    const heard = (await received()) - before;
    const statuses: Record<string, number> = {};
    for (const { status, atMs } of load.answers) {
      if (atMs >= fromMs) statuses[status] = (statuses[status] ?? 0) + 1;
    }
    await disk.free();
    // MariaDB itself dies of a full disk under its redo log; its service manager starts it again.
    const hasMariadbEnded = !existsSync(`/proc/${mariadb.pid}`) || isDefunct(mariadb.pid);
    if (hasMariadbEnded) await mariadb.restart();
    const freedMs = performance.now();
    const [accepted, effects] = [load.counts.accepted, simulation.effects().length];
    const works = () => load.counts.accepted > accepted && simulation.effects().length > effects;
    await until(works, { what: 'work', withinMs: 60_000 }).catch((cause: unknown) => {
      const said = stack.run().stderr().trim().slice(-1_500);
      const last = JSON.stringify(load.answers.slice(-3));
      throw new Error(`${which} has room again, and nothing works: ${last}\n${said}`, { cause });
    });
    const backMs = Math.round(performance.now() - freedMs);
    const figures = await stack.api.ingestFigures();
    const { violations, figures: judged, settledMs } = await loaded.conclude();
    if (heard < lastMs / 1_000) violations.push(`telemetry stopped on a full disk of ${which}`);
    if (stack.run().isOver()) violations.push(`the backend ended on a full disk of ${which}`);
    const ingest = { dropped: figures['dropped'], writeFailures: figures['writeFailures'] };
    return {
      hasMariadbEnded,
      fullMs: lastMs,
      samplesHeard: heard,
      statuses,
      backMs,
      ingest,
      settledMs,
      ...judged,
      violations,
    };
  } finally {
    await loaded.remove();
  }
}

async function runAll({ n, seed, say }: Scope): Promise<Figures> {
  const results: Record<string, { violations: string[] }> = {};
  const parts: [string, number, (disk: Disk) => Promise<{ violations: string[] }>][] = [
    ['journal', 4, (disk) => journal(disk, n)],
    ['mariadb', 260, (disk) => stores('mariadb', disk, n * 4_000, seed)],
    ['data', 200, (disk) => stores('data', disk, n * 4_000, seed)],
  ];
  for (const [name, mebibytes, part] of parts) {
    const disk = await smallDisk(mebibytes);
    if (!disk) return { mounted: false, violations: [] };
    try {
      results[name] = await part(disk);
      say(`${name}: ${JSON.stringify(results[name])}`);
    } finally {
      await disk.remove();
    }
  }
  return {
    mounted: true,
    ...results,
    violations: Object.values(results).flatMap(({ violations }) => violations),
  };
}

export const r15 = experiment(import.meta, { name: 'R15', short: 2, long: 15, run: runAll });
