/** The copyright file of a package, in Debian's format 1.0, with every package that is inside. */
import type { Package } from './closure.ts';
import type { Product } from './products.ts';

const gplWord = [
  'Comment: Kernreaktor itself is under the MIT licence. The package contains node-wol, which is',
  ' under the GNU General Public License version 2, and runs together with it as one program.',
  ' The package as a whole is therefore distributed under GPL-2.0. Its JavaScript is its source',
  ' with the types blanked out; the source with types is the release of the same version.',
];

const licences: Record<string, readonly string[]> = {
  MIT: [
    'Permission is hereby granted, free of charge, to any person obtaining a copy of this',
    'software and associated documentation files (the "Software"), to deal in the Software',
    'without restriction, including without limitation the rights to use, copy, modify, merge,',
    'publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons',
    'to whom the Software is furnished to do so, subject to the following conditions: The above',
    'copyright notice and this permission notice shall be included in all copies or substantial',
    'portions of the Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,',
    'EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS',
    'FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT',
    'HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF',
    'CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE',
    'USE OR OTHER DEALINGS IN THE SOFTWARE.',
  ],
  'GPL-2.0': [
    'On Debian systems the text of the GNU General Public License version 2 stands in',
    '/usr/share/common-licenses/GPL-2.',
  ],
};

const licenceText = (name: string): string =>
  [`License: ${name}`, ...(licences[name] ?? []).map((line) => ` ${line}`)].join('\n');

export function copyrightOf(product: Product, packages: readonly Package[]): string {
  const home = `/usr/lib/${product.name}`;
  const parts = packages.map(({ folder, name, version, license }) =>
    [
      `Files: ${home.slice(1)}/${folder}/*`,
      `Copyright: the authors of ${name} ${version}, see the LICENSE in its folder`,
      `License: ${license.replaceAll(/[()]/g, '').replaceAll(' OR ', ' or ').replaceAll(' ', '-')}`,
      ` See the LICENSE in ${home}/${folder}.`,
    ].join('\n'),
  );
  const own = [
    'Files: *',
    'Copyright: 2026 The Kernreaktor authors',
    'License: MIT',
    ...(product.licence === 'GPL-2.0' ? gplWord : []),
  ].join('\n');
  const node = [
    `Files: ${home.slice(1)}/node`,
    'Copyright: Node.js contributors and others, see LICENSE.node beside this file',
    'License: Node',
    ' See LICENSE.node beside this file.',
  ].join('\n');
  const head = [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
    'Upstream-Name: kernreaktor',
    `License: ${product.licence}`,
  ].join('\n');
  const texts = [...new Set(['MIT', product.licence])].map(licenceText);
  return `${[head, own, node, ...parts, ...texts].join('\n\n')}\n`;
}
