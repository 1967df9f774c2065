/**
 * What a program needs: the sources that its entry file leads to, without their types, and the
 * packages that those import, with everything these depend on. What is not reached is not shipped.
 */
import { existsSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { basename, dirname, join, normalize } from 'node:path';

export type Sources = {
  /** Path below the checkout -> JavaScript, in the order in which they were found. */
  files: Map<string, string>;
  /** Names of the packages that they import. */
  packages: Set<string>;
};

const importing = /\b(?:from\s+|import\s+|import\(\s*)'([^'\s]+)'/g;
/** Of a package whose files are read; a file of ours that is read is an asset. */
const resolving = /\bimport\.meta\.resolve\(\s*'([^'.\s][^'\s]*)'/g;
const relative = /(\b(?:from\s+|import\s+|import\(\s*)'\.{1,2}\/[^'\s]+)\.ts'/g;

/** Comments name files in prose; only code counts. */
const withoutComments = (code: string): string =>
  code.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|[^:'"`])\/\/.*$/gm, '$1');

const packageOf = (name: string): string =>
  name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');

/** @throws when an import leads nowhere: such a package would not start. */
export function sourcesFrom(root: string, entry: string): Sources {
  const files = new Map<string, string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    if (files.has(path)) return;
    const code = stripTypeScriptTypes(readFileSync(join(root, path), 'utf8'));
    files.set(path, code.replaceAll(relative, "$1.js'"));
    for (const [, name = ''] of withoutComments(code).matchAll(importing)) {
      if (name.startsWith('.')) visit(normalize(join(dirname(path), name)));
      else if (!name.startsWith('node:')) packages.add(packageOf(name));
    }
    for (const [, name = ''] of withoutComments(code).matchAll(resolving)) {
      packages.add(packageOf(name));
    }
  };
  visit(entry);
  return { files, packages };
}

type Manifest = {
  name: string;
  version: string;
  license?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
};

export type Package = { folder: string; name: string; version: string; license: string };

const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;

/** As Node looks for a package: beside the one that asks, then above it, but never inside itself. */
function find(root: string, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    const isLookedAt = basename(folder) !== 'node_modules';
    if (isLookedAt && existsSync(join(root, candidate, 'package.json'))) return candidate;
    if (folder === '.' || folder === '') return undefined;
  }
}

/**
 * Of the packages installed below `root`, those that `names` lead to. Optional ones count when npm
 * installed them: they are the binaries for this machine.
 */
export function packagesFrom(root: string, names: Iterable<string>): Package[] {
  const found = new Map<string, Package>();
  const visit = (from: string, name: string, isOptional: boolean): void => {
    const folder = find(root, from, name);
    if (folder === undefined) {
      if (isOptional) return;
      throw new Error(`${name}, which ${from || 'the program'} imports, is not installed`);
    }
    if (found.has(folder)) return;
    const manifest = manifestOf(join(root, folder));
    const { version, license = 'see its LICENSE' } = manifest;
    found.set(folder, { folder, name, version, license });
    for (const needed of Object.keys(manifest.dependencies ?? {})) visit(folder, needed, false);
    const optional = { ...manifest.optionalDependencies, ...manifest.peerDependencies };
    for (const needed of Object.keys(optional)) visit(folder, needed, true);
  };
  for (const name of names) visit('', name, false);
  return [...found.values()].toSorted((a, b) => (a.folder < b.folder ? -1 : 1));
}
