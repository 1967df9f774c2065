/**
 * Turns a tree into a .deb and a tarball. Invariant: with the same tree and SOURCE_DATE_EPOCH both
 * files are the same, byte for byte, whoever builds them and whenever.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Architecture, Product } from './products.ts';
import { architectures } from './products.ts';
import { filesBelow, settle } from './tree.ts';

export type Target = {
  product: Product;
  version: string;
  architecture: Architecture;
  epochSeconds: number;
  /** The checkout. */
  root: string;
  /** Where both files go. */
  out: string;
};

const control = ({ product, version, architecture }: Target, installedKiB: number): string =>
  [
    `Package: ${product.name}`,
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    'Maintainer: The Kernreaktor authors <noreply@kernreaktor.invalid>',
    `Installed-Size: ${installedKiB}`,
    // What the official builds of Node 24 ask for.
    'Depends: libc6 (>= 2.28), libstdc++6 (>= 9), libgcc-s1, passwd, init-system-helpers (>= 1.52)',
    'Recommends: systemd',
    'Section: admin',
    'Priority: optional',
    `Description: ${product.summary}`,
    ...product.description.map((line) => ` ${line}`),
    '',
  ].join('\n');

const scripts = ['postinst', 'prerm', 'postrm'];

function addControl(target: Target, tree: string, bytes: number): void {
  const { root, product } = target;
  const folder = join(tree, 'DEBIAN');
  const own = join(root, 'packaging', product.name.replace('kernreaktor-', ''));
  const sums = filesBelow(tree).map((path) => {
    const sum = createHash('md5').update(readFileSync(join(tree, path)));
    return `${sum.digest('hex')}  ${path}\n`;
  });
  mkdirSync(folder);
  writeFileSync(join(folder, 'md5sums'), sums.join(''));
  writeFileSync(join(folder, 'control'), control(target, Math.ceil(bytes / 1_024)));
  for (const name of scripts) cpSync(join(own, name), join(folder, name));
}

/** The same files without dpkg: units and command lie as in the package, below one folder. */
function tarball(target: Target, tree: string): string {
  const { product, version, architecture, epochSeconds, out } = target;
  const base = `${product.name}-${version}`;
  const file = join(out, `${base}-${architectures[architecture].tarball}.tar.gz`);
  const renamed = join(tree, '..', base);
  renameSync(tree, renamed);
  const plain = `${file}.tar`;
  const order = ['--format=gnu', '--sort=name', `--mtime=@${epochSeconds}`];
  const owner = ['--owner=0', '--group=0', '--numeric-owner'];
  const what = ['--directory', join(tree, '..'), base];
  execFileSync('tar', ['--create', '--file', plain, ...order, ...owner, ...what]);
  execFileSync('gzip', ['--no-name', '--force', '-6', plain]);
  renameSync(`${plain}.gz`, file);
  renameSync(renamed, tree);
  return file;
}

function deb(target: Target, tree: string, bytes: number): string {
  const { product, version, architecture, epochSeconds, out } = target;
  const file = join(out, `${product.name}_${version}_${architecture}.deb`);
  addControl(target, tree, bytes);
  settle(tree, epochSeconds);
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', '-Zzstd', '-z9', tree, file], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SOURCE_DATE_EPOCH: String(epochSeconds) },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  rmSync(join(tree, 'DEBIAN'), { recursive: true });
  return file;
}

export type Built = { deb: string; tarball: string; installedBytes: number };

export function pack(target: Target, tree: string): Built {
  const installedBytes = settle(tree, target.epochSeconds);
  mkdirSync(target.out, { recursive: true });
  return {
    tarball: tarball(target, tree),
    deb: deb(target, tree, installedBytes),
    installedBytes,
  };
}
