import { createHash } from 'node:crypto';
import {
  chmod,
  chown,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parsePolicy, type PolicyReading } from '../../../daemon/command/local-policy.ts';
import { SandboxError } from '../../../daemon/command/sandbox.ts';
import { pinnedBelow } from '../../support/pins.ts';
import { createScriptRunner } from '../../../daemon/command/script-trust.ts';
import { swapWithoutPause, trustedFolder } from '../../support/trusted-folder.ts';

let folder: string;
beforeEach(async () => {
  folder = await trustedFolder();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const good = '#!/bin/sh\necho good\n';
const evil = '#!/bin/sh\necho evil\n';
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

async function script(name: string, text = good, mode = 0o755): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

const pinning = (path: string, text: string): PolicyReading =>
  parsePolicy(JSON.stringify({ scripts: { [path]: sha256(text) } }));

/** `between` runs after the file was read and before it is executed. */
async function run(
  path: string,
  policy?: PolicyReading,
  between: () => Promise<void> = async () => undefined,
) {
  // Without a word on pins, the program is pinned as it is.
  const pinned = policy ?? (await pinnedBelow(folder)());
  const readPolicy = async () => {
    await between();
    return pinned;
  };
  const runner = createScriptRunner({ folder: join(folder, 'run'), readPolicy });
  const signal = new AbortController().signal;
  const env = { KR_GUEST: '100' };
  return runner.run({ path, argv: ['a b'], env, timeoutMs: 20_000, signal });
}

async function refusalOf(running: Promise<unknown>): Promise<SandboxError> {
  const error = await running.catch((cause: unknown) => cause);
  if (error instanceof SandboxError) return error;
  throw new Error(`was not refused: ${JSON.stringify(error)}`);
}

describe('a trusted script', () => {
  it('runs with its arguments, learns where it stands, and leaves no copy behind', async () => {
    const path = await script('tool', '#!/bin/sh\necho "$1 $KR_GUEST $KR_SCRIPT"\n');
    const result = await run(path);
    expect(result).toMatchObject({ exitCode: 0, stdout: `a b 100 ${path}\n`, stderr: '' });
    expect(await readdir(join(folder, 'run'))).toEqual([]);
  });

  it('may be a compiled program as well', async () => {
    const path = join(folder, 'env');
    await copyFile('/usr/bin/printf', path);
    await chmod(path, 0o755);
    expect(await run(path)).toMatchObject({ exitCode: 0, stdout: 'a b' });
  });

  it('runs many times at once, each in a copy that nobody holds open for writing', async () => {
    const path = await script('tool');
    const results = await Promise.all(Array.from({ length: 60 }, () => run(path)));
    expect(new Set(results.map(({ stdout }) => stdout))).toEqual(new Set(['good\n']));
    expect(await readdir(join(folder, 'run'))).toEqual([]);
  });

  it('runs when the policy pins what it holds', async () => {
    const path = await script('tool');
    expect((await run(path, pinning(path, good))).stdout).toBe('good\n');
  });
});

describe('a script that somebody else may have written', () => {
  it.each([0o775, 0o757, 0o777])('is refused with mode %o', async (mode) => {
    const refusal = await refusalOf(run(await script('tool', good, mode)));
    expect(refusal.code).toBe('KR_SCRIPT_TRUST');
    expect(refusal.wayOut).toBe(`chmod go-w ${join(folder, 'tool')}`);
  });

  it('is refused in a folder that others may write, however far above', async () => {
    await mkdir(join(folder, 'a', 'b'), { recursive: true });
    const path = await script('a/b/tool');
    await chmod(join(folder, 'a'), 0o777);
    const refusal = await refusalOf(run(path));
    expect(refusal).toMatchObject({ code: 'KR_SCRIPT_TRUST', wayOut: `chmod go-w ${folder}/a` });
  });

  it('is refused below /tmp, where a sticky bit would have to be believed', async () => {
    const open = await mkdtemp(join(tmpdir(), 'kr-trust-'));
    try {
      await writeFile(join(open, 'tool'), good, { mode: 0o755 });
      expect((await refusalOf(run(join(open, 'tool')))).code).toBe('KR_SCRIPT_TRUST');
    } finally {
      await rm(open, { recursive: true });
    }
  });

  it.runIf(process.getuid?.() === 0)('is refused when another user owns it', async () => {
    const path = await script('tool');
    await chown(path, 4_242, 0);
    const refusal = await refusalOf(run(path));
    expect(refusal.message).toContain(`${path} belongs to user 4242: chown root:root`);
    await chown(path, 0, 0);
    await chown(folder, 4_242, 0);
    expect((await refusalOf(run(path))).message).toContain(`${folder} belongs to user 4242`);
  });

  it('is refused behind a symlink, at the end of the path and within it', async () => {
    await mkdir(join(folder, 'real'));
    const path = await script('real/tool');
    await symlink(path, join(folder, 'link'));
    await symlink(join(folder, 'real'), join(folder, 'way'));
    for (const at of ['link', 'way/tool']) {
      const refusal = await refusalOf(run(join(folder, at)));
      expect(refusal.message).toMatch(/is a symlink: configure the path that it points to/);
    }
  });

  it('is refused when it is no plain path, no regular file, not executable or not there', async () => {
    const path = await script('tool', good, 0o644);
    const cases = [
      [`${folder}/../${folder.split('/').at(-1)}/tool`, 'KR_TOOL_PATH'],
      ['tool', 'KR_TOOL_PATH'],
      [`${folder}//tool`, 'KR_TOOL_PATH'],
      [folder, 'KR_SCRIPT_TRUST'],
      ['/', 'KR_SCRIPT_TRUST'],
      [path, 'KR_TOOL_DENIED'],
      [join(folder, 'none'), 'KR_TOOL_MISSING'],
      [join(folder, 'none', 'tool'), 'KR_TOOL_MISSING'],
    ] as const;
    for (const [at, code] of cases) expect((await refusalOf(run(at))).code).toBe(code);
  });

  it('is refused when it is too large to be read whole', async () => {
    const path = await script('tool', good + '#'.repeat(16 * 1024 * 1024));
    expect((await refusalOf(run(path))).wayOut).toContain('start it from a small script');
  });
});

describe('the pins of the local policy', () => {
  it('refuse what has changed, and tell the new hash', async () => {
    const path = await script('tool');
    const policy = pinning(path, good);
    await writeFile(path, evil);
    const refusal = await refusalOf(run(path, policy));
    expect(refusal.code).toBe('KR_SCRIPT_PIN');
    expect(refusal.message).toContain(`has changed: look at it, then set scripts: {${path}: `);
    expect(refusal.wayOut).toContain(sha256(evil));
  });

  it('refuse every program that they do not list, also where nothing is listed', async () => {
    const path = await script('tool');
    const policies = ['', 'allow: [guest.start]', 'scripts: {}'].map(parsePolicy);
    for (const policy of [...policies, pinning('/usr/bin/other', good)]) {
      const refusal = await refusalOf(run(path, policy));
      expect(refusal.message).toContain('is not listed in the local policy');
      expect(refusal.wayOut).toContain(`scripts: {${path}: ${sha256(good)}}`);
    }
  });

  it('refuse everything while the policy cannot be understood', async () => {
    const path = await script('tool');
    for (const text of ['scripts: [', 'scripts: {tool: ab}', `scripts: {${path}: AB}`]) {
      expect((await refusalOf(run(path, parsePolicy(text)))).code).toBe('KR_SCRIPT_PIN');
    }
  });
});

describe('a swap between the check and the start', () => {
  it('changes nothing: what was checked is what runs', async () => {
    const path = await script('tool');
    const other = await script('other', evil);
    const swaps: (() => Promise<void>)[] = [
      () => writeFile(path, evil),
      () => rename(other, path),
      async () => {
        await rm(path);
        await symlink('/bin/false', path);
      },
      () => rm(path),
    ];
    for (const swap of swaps) {
      await rm(path, { force: true });
      await script('tool');
      expect(await run(path, pinning(path, good), swap)).toMatchObject({ stdout: 'good\n' });
    }
  });

  it('never lets the wrong program through while paths are swapped without a pause', async () => {
    const [real, wrong] = [join(folder, 'real'), join(folder, 'wrong')];
    for (const [place, text] of [
      [real, good],
      [wrong, evil],
    ] as const) {
      await mkdir(place);
      await writeFile(join(place, 'tool'), text, { mode: 0o755 });
    }
    const way = join(folder, 'way');
    const swapping = swapWithoutPause(folder);
    const outcomes = { ran: 0, refused: 0 };
    const path = join(way, 'tool');
    // The swapper decides which outcome is how frequent, so the loop lasts until both were met.
    for (let attempt = 0; attempt < 20_000 && Math.min(...Object.values(outcomes)) < 60;) {
      attempt += 1;
      const outcome = await run(path, pinning(path, good)).then(
        ({ stdout }) => stdout,
        (error: unknown) => (error instanceof SandboxError ? 'refused' : String(error)),
      );
      expect(['good\n', 'refused']).toContain(outcome);
      outcomes[outcome === 'refused' ? 'refused' : 'ran'] += 1;
    }
    await swapping.end();
    expect(outcomes.ran).toBeGreaterThanOrEqual(60);
    expect(outcomes.refused).toBeGreaterThanOrEqual(60);
  });
});
