/** What a package would hold, from the sources and the packages that are installed here. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagesFrom, sourcesFrom } from '../../packaging/closure.ts';
import { sourceDateEpoch } from '../../packaging/config.ts';
import { copyrightOf } from '../../packaging/copyright.ts';
import { products } from '../../packaging/products.ts';
import { filesBelow, layOut, settle } from '../../packaging/tree.ts';

const root = join(import.meta.dirname, '..', '..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};
const { daemon, server } = products;
const daemonSources = sourcesFrom(root, daemon.entry);
const daemonPackages = packagesFrom(root, daemonSources.packages);

describe('the daemon package', () => {
  it('holds the daemon and what it shares with the broker, nothing of the server', () => {
    const paths = [...daemonSources.files.keys()];
    expect(paths).toContain('daemon/agent.ts');
    expect(paths).toContain('daemon/executor.ts');
    expect(paths).toContain('daemon/main.ts');
    const own = /^(daemon\/|broker\/contract\/|broker\/(client|access|packet-numbers|pin)\.ts$)/;
    const foreign = paths.filter((path) => !own.test(path));
    expect(foreign).toEqual([]);
  });

  it('holds only packages that production needs, and of those only its own', () => {
    const names = daemonPackages.map(({ name }) => name);
    for (const name of ['mqtt', 'node-wol', 'pino', 'yaml', 'zod']) expect(names).toContain(name);
    for (const name of ['fastify', 'aedes', 'mariadb', 'kysely', '@duckdb/node-api']) {
      expect(names).not.toContain(name);
    }
    // Types that a production package lists among its own dependencies come along.
    const tools = Object.keys(manifest.devDependencies).filter(
      (name) => !name.startsWith('@types/'),
    );
    expect(tools.filter((name) => names.includes(name))).toEqual([]);
  });

  it('runs as JavaScript: no type, and no import of a .ts, is left', () => {
    for (const [path, code] of daemonSources.files) {
      const left = /\b(?:from|import)\s*\(?\s*'\.[^']*\.ts'/.exec(code)?.[0] ?? null;
      expect({ path, left }).toEqual({ path, left: null });
    }
  });

  it('says that as a whole it is under GPL-2.0, and names every part', () => {
    const text = copyrightOf(daemon, daemonPackages);
    expect(text).toContain('License: GPL-2.0');
    expect(text).toContain('The package as a whole is therefore distributed under GPL-2.0');
    for (const { folder } of daemonPackages) expect(text).toContain(`${folder}/*`);
  });
});

it('finds a package where Node would, not in a node_modules inside node_modules', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kr-closure-'));
  const put = (path: string, manifest: object): void => {
    mkdirSync(join(folder, path), { recursive: true });
    writeFileSync(join(folder, path, 'package.json'), JSON.stringify(manifest));
  };
  try {
    put('node_modules/a', { name: 'a', version: '1.0.0', dependencies: { b: '1' } });
    put('node_modules/b', { name: 'b', version: '1.0.0' });
    put('node_modules/node_modules/b', { name: 'b', version: '2.0.0' });
    const found = packagesFrom(folder, ['a']).map((one) => one.folder);
    expect(found).toEqual(['node_modules/a', 'node_modules/b']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('the server package', () => {
  it('holds every production dependency, and the files that it reads', () => {
    const { files, packages } = sourcesFrom(root, server.entry);
    expect([...files.keys()]).toContain('backend/main.ts');
    const shipped = Object.keys(manifest.dependencies).filter((name) => !packages.has(name));
    // Loaded by other packages of ours at most.
    expect(shipped).toEqual([]);
    for (const asset of server.assets) expect(existsSync(join(root, asset))).toBe(true);
  });
});

describe('the tree of a package', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'kr-tree-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const cpu = process.arch === 'arm64' ? 'arm64' : 'x64';
  const laidOut = (name: string): string => {
    const into = join(folder, name);
    layOut(
      {
        product: daemon,
        version: '0.0.0',
        root,
        installed: root,
        sources: daemonSources,
        packages: daemonPackages,
        nodePackage: `node_modules/node-linux-${cpu}`,
      },
      into,
    );
    settle(into, 1_700_000_000);
    return into;
  };
  const digests = (tree: string) =>
    filesBelow(tree).map((path) => {
      const { mode, mtimeMs } = statSync(join(tree, path));
      const hash = createHash('sha256').update(readFileSync(join(tree, path)));
      return [path, mode & 0o7777, mtimeMs, hash.digest('hex')];
    });

  it('is the same twice, with one time and no mode but 0755 and 0644', () => {
    const first = digests(laidOut('a'));
    expect(first.length).toBeGreaterThan(500);
    expect(digests(laidOut('b'))).toEqual(first);
    expect(new Set(first.map(([, mode]) => mode))).toEqual(new Set([0o755, 0o644]));
    expect(new Set(first.map(([, , mtimeMs]) => mtimeMs))).toEqual(new Set([1_700_000_000_000]));
    const programs = first.flatMap(([path, mode]) => (mode === 0o755 ? [path] : []));
    expect(programs).toEqual(['usr/bin/kernreaktor-daemon', 'usr/lib/kernreaktor-daemon/node']);
  });
});

describe('SOURCE_DATE_EPOCH', () => {
  it('is taken as whole seconds, or refused by name', () => {
    expect(sourceDateEpoch({})).toBeNull();
    expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: '12' })).toBe(12);
    expect(() => sourceDateEpoch({ SOURCE_DATE_EPOCH: 'now' })).toThrow('SOURCE_DATE_EPOCH');
  });
});
