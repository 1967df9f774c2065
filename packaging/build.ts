/**
 * Builds the packages of one product: `node packaging/build.ts daemon|server [--arch amd64,arm64]
 * [--out folder]`. npm installs the production packages for the target machine from the lock file,
 * so another machine's binaries are fetched, never built and never run here. The last line it
 * prints is JSON.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPanel } from '../backend/panel/build.ts';
import { packagesFrom, sourcesFrom } from './closure.ts';
import { sourceDateEpoch } from './config.ts';
import { pack } from './deb.ts';
import { type Architecture, architectures, type ProductName, products } from './products.ts';
import { layOut } from './tree.ts';

const root = join(import.meta.dirname, '..');

type Options = { product: ProductName; architectures: Architecture[]; out: string };

const usage = 'use: packaging/build.ts daemon|server [--arch amd64,arm64] [--out folder]';

function optionsOf(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { arch: { type: 'string' }, out: { type: 'string' } },
  });
  const known = Object.keys(products) as ProductName[];
  const product = known.find((name) => name === positionals[0]);
  const asked = (values.arch ?? Object.keys(architectures).join(',')).split(',');
  const isKnown = (name: string): name is Architecture => Object.hasOwn(architectures, name);
  if (product === undefined || !asked.every(isKnown)) throw new Error(usage);
  return { product, architectures: asked.filter(isKnown), out: resolve(values.out ?? 'dist') };
}

function commitSeconds(): number {
  try {
    const stdio = ['ignore', 'pipe', 'ignore'] as const;
    const options = { cwd: root, stdio: [...stdio] };
    return Number(execFileSync('git', ['log', '-1', '--format=%ct'], options).toString().trim());
  } catch (cause) {
    throw new Error('no commit to take the time from: set SOURCE_DATE_EPOCH', { cause });
  }
}

/** As `npm ci` on that machine would, without the packages for developers. */
function install(into: string, cpu: string): void {
  mkdirSync(into, { recursive: true });
  for (const file of ['package.json', 'package-lock.json', '.npmrc']) {
    cpSync(join(root, file), join(into, file));
  }
  const target = ['--os=linux', `--cpu=${cpu}`, '--libc=glibc'];
  execFileSync('npm', ['ci', '--omit=dev', '--ignore-scripts', ...target], {
    cwd: into,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

async function build(options: Options): Promise<void> {
  const product = products[options.product];
  const manifest = readFileSync(join(root, 'package.json'), 'utf8');
  const { version } = JSON.parse(manifest) as { version: string };
  const epochSeconds = sourceDateEpoch() ?? commitSeconds();
  const sources = sourcesFrom(root, product.entry);
  if (product.name === 'kernreaktor-server') await buildPanel();
  const figures: Record<string, object> = {};
  const work = mkdtempSync(join(tmpdir(), 'kr-package-'));
  try {
    for (const architecture of options.architectures) {
      const { cpu } = architectures[architecture];
      const installed = join(work, cpu);
      install(installed, cpu);
      const nodePackage = join('node_modules', `node-linux-${cpu}`);
      const packages = packagesFrom(installed, sources.packages);
      const contents = { product, version, root, installed, sources, packages, nodePackage };
      const tree = join(work, `tree-${architecture}`);
      layOut(contents, tree);
      const target = { product, version, architecture, epochSeconds, root, out: options.out };
      const built = pack(target, tree);
      process.stdout.write(`${built.deb}\n${built.tarball}\n`);
      figures[architecture] = {
        deb: basename(built.deb),
        tarball: basename(built.tarball),
        installedBytes: built.installedBytes,
        packages: packages.length,
        files: sources.files.size,
      };
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  process.stdout.write(`${JSON.stringify({ product: product.name, version, ...figures })}\n`);
}

try {
  await build(optionsOf(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
