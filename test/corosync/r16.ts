/**
 * RELIABILITY R16: the product's rows about votes against real corosync.
 *
 *   node test/corosync/r16.ts [--form short|device|full]
 *
 * Needs root, network namespaces, and Debian's corosync, which is unpacked and not installed. The
 * last line is one JSON object; the exit code is 1 when anything was allowed that corosync called
 * inquorate.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fetchInto } from '../support/debian.ts';
import { prepare, type Layout } from './lab.ts';
import { type Survey, survey } from './survey.ts';

const packages = ['corosync', 'corosync-qdevice', 'corosync-qnetd', 'libnss3-tools'];

const plain = (...votes: number[]): Layout => ({ votes, deviceVotes: 0, algorithm: 'ffsplit' });
const withDevice = (
  algorithm: Layout['algorithm'],
  deviceVotes: number,
  ...votes: number[]
): Layout => ({
  votes,
  deviceVotes,
  algorithm,
});

type Wanted = readonly (readonly [Layout, Survey['by']])[];

const short: Wanted = [[plain(1, 1, 1), 'cut']];
const devices: Wanted = [
  [withDevice('ffsplit', 1, 1, 1), 'cut'],
  [withDevice('lms', 2, 1, 1, 1), 'cut'],
  [withDevice('ffsplit', 1, 1, 1, 1, 1), 'cut'],
  [withDevice('lms', 4, 1, 1, 1, 1, 1), 'cut'],
];
/** Proxmox gives a device 1 vote and ffsplit with an even number of nodes, N-1 and lms otherwise. */
const full: Wanted = [
  [plain(1, 1), 'cut'],
  [plain(1, 1, 1), 'cut'],
  [plain(1, 1, 1), 'kill'],
  [plain(2, 1, 1), 'cut'],
  [plain(3, 1, 1), 'cut'],
  [plain(2, 2, 1), 'cut'],
  [plain(1, 1, 1, 1), 'cut'],
  [plain(2, 1, 1, 1), 'kill'],
  [plain(3, 1, 1, 1), 'cut'],
  [plain(1, 1, 1, 1, 1), 'cut'],
  [plain(1, 1, 1, 1, 1), 'kill'],
  [plain(2, 1, 1, 1, 1), 'cut'],
  [plain(3, 2, 1, 1, 1), 'cut'],
  ...devices,
];

async function inside(form: string): Promise<void> {
  const startedAt = performance.now();
  await prepare();
  const surveys: Survey[] = [];
  const wanted = { short, device: devices, full }[form];
  if (!wanted) throw new Error(`--form ${form}: use short, device or full`);
  for (const [layout, by] of wanted) {
    for (const found of await survey(layout, by)) {
      surveys.push(found);
      process.stdout.write(`${JSON.stringify(found)}\n`);
    }
  }
  const total = (name: 'sets' | 'questions' | 'allowed' | 'denied'): number =>
    surveys.reduce((sum, one) => sum + one[name], 0);
  const wrong = surveys.flatMap(({ allowedButInquorate }) => allowedButInquorate);
  const unspared = surveys.flatMap(({ allowedButNoSpare }) => allowedButNoSpare);
  const careful = surveys.reduce((sum, { deniedButQuorate }) => sum + deniedButQuorate.length, 0);
  const figures = {
    experiment: 'R16',
    form,
    layouts: surveys.length,
    sets: total('sets'),
    questions: total('questions'),
    allowed: total('allowed'),
    denied: total('denied'),
    allowedButInquorate: wrong.length,
    allowedButNoSpare: unspared.length,
    deniedButQuorate: careful,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  process.exitCode = wrong.length + unspared.length === 0 ? 0 : 1;
}

async function outside(form: string): Promise<void> {
  const root = await fetchInto('corosync', packages);
  const libraries = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].flatMap((arch) =>
    ['usr/lib', 'lib'].map((folder) => join(root, folder, arch)),
  );
  const child = spawn(
    'unshare',
    [
      '--mount',
      '--net',
      '--pid',
      '--fork',
      '--mount-proc',
      '--kill-child',
      '--',
      process.execPath,
      import.meta.filename,
      '--form',
      form,
      '--inside',
    ],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        LC_ALL: 'C',
        LD_LIBRARY_PATH: libraries.join(':'),
        PATH: [join(root, 'usr/sbin'), join(root, 'usr/bin'), process.env['PATH']].join(':'),
      },
    },
  );
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

const { values } = parseArgs({
  options: {
    form: { type: 'string', default: 'full' },
    inside: { type: 'boolean', default: false },
  },
});
await (values.inside ? inside : outside)(values.form);
