/**
 * The architecture as a table (DESIGN 2). Each rule names who may import whom, who may read the
 * clock or the environment, and which package stands behind which one file of ours.
 */
import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

type Source = { path: string; text: string; code: string; imports: string[] };

const root = join(import.meta.dirname, '..');
const folders = ['broker', 'daemon', 'backend', 'simulator', 'test'];
const sources: Source[] = [];

/** Comments name clocks and packages in prose; only code counts. */
const withoutComments = (text: string): string =>
  text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|[^:'"`])\/\/.*$/gm, '$1');

beforeAll(async () => {
  for await (const path of glob(['*.ts', ...folders.map((folder) => `${folder}/**/*.ts`)], {
    cwd: root,
    // What runs in a browser has its own clock and no composition; a rule of its own stands below.
    exclude: (name) =>
      name.includes('node_modules') ||
      name.endsWith('.d.ts') ||
      name.startsWith('backend/panel/src') ||
      name.startsWith('backend/panel/dist'),
  })) {
    const text = readFileSync(join(root, path), 'utf8');
    const code = withoutComments(text);
    const imports = [...code.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => {
      const name = match[1] ?? '';
      return name.startsWith('.') ? normalize(join(dirname(path), name)) : name;
    });
    sources.push({ path, text, code, imports });
  }
});

const under = (path: string, ...prefixes: string[]): boolean =>
  prefixes.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
const isOurs = (name: string): boolean => /\.(ts|json)$/.test(name);
const product = (): Source[] => sources.filter(({ path }) => !under(path, 'test'));
const isComposition = ({ path }: Source): boolean =>
  path === 'kernreaktor.ts' || path.endsWith('/main.ts');

/** Paths that break a rule, with what they import. */
const offenders = (
  from: (source: Source) => boolean,
  allowed: (imported: string, source: Source) => boolean,
): string[] =>
  sources
    .filter(from)
    .flatMap((source) =>
      source.imports
        .filter((imported) => !allowed(imported, source))
        .map((imported) => `${source.path} imports ${imported}`),
    );

describe('the folders', () => {
  it('hold sources in every part, so that no rule below passes on nothing', () => {
    for (const folder of folders) {
      const count = sources.filter(({ path }) => under(path, folder)).length;
      expect({ folder, isFull: count > 2 }).toEqual({ folder, isFull: true });
    }
  });

  it('keep broker/contract free of everything but zod', () => {
    const contract = ({ path }: Source) => under(path, 'broker/contract');
    expect(offenders(contract, (name) => name === 'zod' || under(name, 'broker/contract'))).toEqual(
      [],
    );
  });

  it.each([
    ['broker', ['broker']],
    ['daemon', ['daemon', 'broker/contract', 'broker/client.ts']],
    ['backend', ['backend', 'broker']],
    ['simulator', ['simulator', 'daemon', 'broker/contract', 'broker/client.ts']],
  ] as const)('let %s import only %j of ours', (folder, allowed) => {
    const own = ({ path }: Source) => under(path, folder);
    const replay = (path: string) => under(path, 'simulator/replay');
    expect(
      offenders(
        own,
        (name, { path }) =>
          !isOurs(name) ||
          under(name, ...allowed) ||
          (replay(path) && under(name, 'backend/state', 'backend/decide')),
      ),
    ).toEqual([]);
  });

  it('let the panel know the rest by its types alone, and nobody import the panel', async () => {
    const panel = 'backend/panel/src';
    const reaching: string[] = [];
    let count = 0;
    for await (const path of glob(`${panel}/**/*.{ts,tsx}`, { cwd: root })) {
      count += 1;
      const code = withoutComments(readFileSync(join(root, path), 'utf8'));
      for (const [, types, name = ''] of code.matchAll(
        /import (type )?(?:[^'"]*? from )?'(\.[^']+)'/g,
      )) {
        const isInside = under(normalize(join(dirname(path), name)), panel, 'backend/format.ts');
        if (!isInside && types === undefined) reaching.push(`${path} imports ${name}`);
      }
    }
    expect(count).toBeGreaterThan(10);
    expect(reaching).toEqual([]);
    expect(sources.filter(({ imports }) => imports.some((name) => under(name, panel)))).toEqual([]);
  });

  it('give the fields of a form their first value only, so that no answer overwrites what is typed', async () => {
    const overwritten: string[] = [];
    let count = 0;
    for await (const path of glob('backend/panel/src/**/*.tsx', { cwd: root })) {
      const code = withoutComments(readFileSync(join(root, path), 'utf8'));
      // Up to the first arrow: a field that tells of each change is the component's to set.
      for (const [tag] of code.matchAll(/<(?:input|select|textarea)\b[^>]*/g)) {
        count += 1;
        const isSet = /\schecked=/.test(tag) || (/\svalue=/.test(tag) && !tag.includes('"radio"'));
        if (isSet && !/\son(?:Input|Change)=/.test(tag)) overwritten.push(`${path}: ${tag}`);
      }
    }
    expect(count).toBeGreaterThan(30);
    expect(overwritten).toEqual([]);
  });

  it('let only kernreaktor.ts import the simulator, and nothing import kernreaktor.ts or test', () => {
    const outside = ({ path }: Source) => !under(path, 'simulator', 'test');
    expect(
      offenders(
        outside,
        (name, { path }) =>
          (path === 'kernreaktor.ts' || !under(name, 'simulator')) &&
          !under(name, 'test') &&
          name !== 'kernreaktor.ts',
      ),
    ).toEqual([]);
  });
});

/** Pure files take time and chance as arguments and touch nothing. */
const pure = [
  /^broker\/contract\//,
  /^broker\/access\.ts$/,
  /^daemon\/sample\/rates\.ts$/,
  /^daemon\/command\/(machine|guards)\.ts$/,
  /^daemon\/link\/outbox\.ts$/,
  /^backend\/state\//,
  /^backend\/decide\//,
  /^backend\/backtest\/(reel|watts|world|replay|outcome)\.ts$/,
  /^backend\/act\/(lifecycle|guards)\.ts$/,
  /^simulator\/(world\/|prng\.ts|scenarios\/)/,
];

describe('purity', () => {
  it('keeps clock, timers, I/O, async, logs and environment out of pure files', () => {
    const files = sources.filter(({ path }) => pure.some((pattern) => pattern.test(path)));
    expect(files.length).toBeGreaterThan(15);
    const impure =
      /\b(Date\.now|new Date\(\)|performance\.|setTimeout|setInterval|setImmediate|Math\.random|async |await |process\.|console\.)/;
    expect(files.filter(({ code }) => impure.test(code)).map(({ path }) => path)).toEqual([]);
    const io = files.flatMap(({ path, imports }) =>
      imports.filter((name) => name.startsWith('node:')).map((name) => `${path} imports ${name}`),
    );
    expect(io).toEqual([]);
  });

  it('knows no trace, track or simulation inside backend/decide', () => {
    const decide = sources.filter(({ path }) => under(path, 'backend/decide'));
    expect(decide.length).toBeGreaterThan(1);
    const special = decide.filter(({ code }) => /\b(simulated|planetlab|bitbrains)\b/i.test(code));
    expect(special.map(({ path }) => path)).toEqual([]);
  });
});

describe('the edges', () => {
  it('read the environment only in config.ts', () => {
    const readers = product().filter(
      ({ path, code }) => code.includes('process.env') && !/(^|\/)config\.ts$/.test(path),
    );
    expect(readers.map(({ path }) => path)).toEqual([]);
  });

  it('read the wall clock and make timers only where things are composed', () => {
    const users = product().filter(
      (source) =>
        !isComposition(source) &&
        /\b(Date\.now\(|Math\.random\(|setTimeout\(|setInterval\()/.test(source.code),
    );
    expect(users.map(({ path }) => path)).toEqual([]);
  });

  const behindOneFile: Record<string, RegExp> = {
    aedes: /^broker\/server\.ts$/,
    mqtt: /^broker\/client\.ts$/,
    'node-wol': /^daemon\/waker\//,
    mariadb: /^backend\/store\/sql\//,
    'kysely-mariadb': /^backend\/store\/sql\//,
    'node:sqlite': /^backend\/store\/sql\//,
    '@duckdb/node-bindings': /^backend\/store\/metrics\/duckdb-driver\.ts$/,
    '@duckdb/node-api': /^backend\/store\/metrics\//,
    '@influxdata/influxdb-client': /^backend\/store\/metrics\//,
    fastify: /^backend\/http\//,
    '@node-rs/argon2': /^backend\/http\//,
    'prom-client': /^backend\/observe\//,
    '@peculiar/x509': /^broker\/tls\.ts$/,
    ws: /^broker\//,
    'csv-parse': /^simulator\/load\/recordings\.ts$/,
    croner: /^backend\/decide\/windows\.ts$/,
    'age-encryption': /^backend\/backup\/seal\.ts$/,
    nodemailer: /^backend\/notify\/mail\.ts$/,
    standardwebhooks: /^backend\/notify\/send\.ts$/,
    otpauth: /^backend\/http\/totp\.ts$/,
    'node:child_process':
      /^(daemon\/command\/|daemon\/hypervisor\/|simulator\/|backend\/cli\/remote\.ts$)/,
  };
  it.each(Object.entries(behindOneFile))('keep %s behind %s', (name, home) => {
    const users = product().filter(
      ({ path, imports }) => imports.includes(name) && !home.test(path),
    );
    expect(users.map(({ path }) => path)).toEqual([]);
  });

  it('let the command protocol know its store by meaning alone, never by SQL', () => {
    const act = ({ path }: Source) => under(path, 'backend/act');
    const plain = ['backend/store/sql/schema.ts', 'backend/store/sql/errors.ts'];
    expect(
      offenders(
        act,
        (name) =>
          name !== 'kysely' &&
          name !== 'backend/audit/chain.ts' &&
          (!under(name, 'backend/store/sql') || plain.includes(name)),
      ),
    ).toEqual([]);
  });

  it('open every file with what it is for', () => {
    const silent = product().filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  it('leave no TODO, no focused or skipped test behind', () => {
    const left = sources.filter(
      ({ path, code }) =>
        path !== 'test/tidy.test.ts' &&
        /\b(TODO|FIXME)\b|\b(it|describe|test)\.(only|todo|skip)\(/.test(code),
    );
    expect(left.map(({ path }) => path)).toEqual([]);
  });

  it('start nothing by a hook, which npm leaves out where .npmrc ignores scripts', () => {
    expect(readFileSync(join(root, '.npmrc'), 'utf8')).toContain('ignore-scripts=true');
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const hooks = Object.keys(scripts).filter((name) => /^(pre|post)/.test(name));
    expect(hooks).toEqual([]);
    for (const name of ['start', 'demo']) expect(scripts[name]).toContain('npm run --silent panel');
  });
});
