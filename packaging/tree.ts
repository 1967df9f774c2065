/**
 * Lays the files of a package out as they will lie on the host. Invariant: the same sources make
 * the same tree, byte for byte: sorted, with fixed modes, and with one time for everything.
 */
import { chmodSync, cpSync, existsSync, lstatSync, lutimesSync, mkdirSync } from 'node:fs';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Package, Sources } from './closure.ts';
import { copyrightOf } from './copyright.ts';
import type { Product } from './products.ts';

export type Contents = {
  product: Product;
  version: string;
  /** The checkout. */
  root: string;
  /** Where npm installed the packages for the target machine. */
  installed: string;
  sources: Sources;
  packages: readonly Package[];
  nodePackage: string;
};

/** Of a package only what runs: no TypeScript, no maps for debuggers. */
const isShipped = (path: string): boolean =>
  !/\.(map|[cm]?ts|markdown)$|\/\.github$/.test(path) &&
  !/\/(README|CHANGELOG|HISTORY)(\.md)?$/i.test(path);

function put(path: string, content: string | Buffer): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

function copyPackage({ installed }: Contents, { folder }: Package, home: string): void {
  const from = join(installed, folder);
  cpSync(from, join(home, folder), {
    recursive: true,
    // Packages inside come as entries of their own, as far as they are needed.
    filter: (path) => !path.slice(from.length).includes('/node_modules') && isShipped(path),
  });
}

/** As the unit runs it, so that a person at this machine need not say where it is. */
const asService = ({ dataDir, settings }: NonNullable<Product['service']>): string => `
export KR_DATA_DIR="\${KR_DATA_DIR:-${dataDir}}"
file=
if [ -r ${settings} ]; then file=--env-file=${settings}; fi`;

const commandOf = ({ name, nodeFlags, entry, service }: Product): string => `#!/bin/sh
# The command of ${name} on PATH, under the Node that came with it.
set -eu
home=/usr/lib/${name}
export MALLOC_ARENA_MAX="\${MALLOC_ARENA_MAX:-2}"${service ? asService(service) : ''}
exec "$home/node" ${nodeFlags.join(' ')}${service ? ' $file' : ''} "$home/${entry.replace(/\.ts$/, '.js')}" "$@"
`;

/** Everything below `into`, which stands for the root folder of the host. */
export function layOut(contents: Contents, into: string): void {
  const { product, version, root, installed, sources, packages, nodePackage } = contents;
  const home = join(into, 'usr/lib', product.name);
  for (const [path, code] of sources.files) put(join(home, path.replace(/\.ts$/, '.js')), code);
  for (const asset of product.assets) {
    const target = join(home, asset);
    if (!existsSync(join(root, asset))) continue;
    cpSync(join(root, asset), target, {
      recursive: true,
      filter: (path) => !path.endsWith('.ts'),
    });
  }
  const manifest = { name: product.name, version, type: 'module', private: true };
  put(join(home, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const one of packages) copyPackage(contents, one, home);
  put(join(home, 'node'), readFileSync(join(installed, nodePackage, 'bin/node')));
  const documents = join(into, 'usr/share/doc', product.name);
  put(join(documents, 'copyright'), copyrightOf(product, packages));
  const nodeLicence = readFileSync(join(installed, nodePackage, 'LICENSE'));
  put(join(documents, 'LICENSE.node'), nodeLicence);
  for (const page of product.documents) {
    put(join(documents, page.replace('docs/', '')), readFileSync(join(root, page)));
  }
  const own = join(root, 'packaging', product.name.replace('kernreaktor-', ''));
  for (const file of readdirSync(join(own, 'examples')).toSorted()) {
    put(join(documents, 'examples', file), readFileSync(join(own, 'examples', file)));
  }
  for (const unit of product.units) {
    const file = `${unit}.service`;
    put(join(into, 'usr/lib/systemd/system', file), readFileSync(join(own, file)));
  }
  put(join(into, 'usr/bin', product.command), commandOf(product));
}

const isProgram = (path: string): boolean =>
  /\/usr\/bin\/[^/]+$|\/usr\/lib\/[^/]+\/node$|\/DEBIAN\/(pre|post)(inst|rm)$/.test(path);

/** One owner (that of dpkg-deb and tar), fixed modes, one time. Answers the bytes of all files. */
export function settle(path: string, epochSeconds: number): number {
  const stats = lstatSync(path);
  let bytes = stats.isFile() ? stats.size : 0;
  if (stats.isDirectory()) {
    for (const name of readdirSync(path)) bytes += settle(join(path, name), epochSeconds);
  }
  if (!stats.isSymbolicLink()) {
    chmodSync(path, stats.isDirectory() || isProgram(path) ? 0o755 : 0o644);
  }
  lutimesSync(path, epochSeconds, epochSeconds);
  return bytes;
}

/** Every file below, sorted, without the leading slash. */
export function filesBelow(root: string, under = ''): string[] {
  return readdirSync(join(root, under), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(under, entry.name);
      return entry.isDirectory() ? filesBelow(root, path) : [path];
    })
    .toSorted();
}
