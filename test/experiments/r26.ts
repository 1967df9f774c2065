/**
 * R26: hostile argument sets as grants that the server really signed, hostile argument lists for
 * the sandbox, programs that are swapped and edited while they are started, an environment full
 * of traps. Nothing hostile may be accepted, nothing may run but what was checked.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parsePolicy } from '../../daemon/command/local-policy.ts';
import { runTool, SandboxError } from '../../daemon/command/sandbox.ts';
import { createScriptRunner } from '../../daemon/command/script-trust.ts';
import { createRig, node } from '../daemon/command/rig.ts';
import {
  chance,
  type Chance,
  experiment,
  type Figures,
  type Scope,
  upperBound,
} from '../support/experiment.ts';
import { hostileCommand, hostileText } from '../support/hostile.ts';
import { swapWithoutPause, trustedFolder } from '../support/trusted-folder.ts';

/** A new executor after so many, so that its bound on open commands is not what refuses them. */
const perExecutor = 40;

/** Each set is signed by the right key and claimed properly; only its content is hostile. */
async function grants(draw: Chance, count: number, violations: string[]) {
  const refusedBy: Record<string, number> = {};
  let [tried, good] = [0, 0];
  for (let turn = 0; tried < count; turn += 1) {
    const rig = createRig({ seed: 1 + turn });
    await rig.connect();
    const expected: string[] = [];
    for (let each = 0; each < perExecutor && tried < count; each += 1) {
      const { what, ...hostile } = hostileCommand(draw, node);
      const commandId = rig.newId();
      const offer = rig.offer({ ...hostile, commandId } as never);
      await rig.give(offer);
      const claim = rig.claims(commandId).at(-1) ?? { nonce: 'a'.repeat(32) };
      await rig.grant(rig.grantOf(offer, claim));
      tried += 1;
      const refusal = rig.reports(commandId).find((report) => report.step === 'refused');
      const by = refusal?.step === 'refused' ? refusal.code : 'dropped';
      refusedBy[by] = (refusedBy[by] ?? 0) + 1;
      if (rig.world.effects.includes(commandId)) {
        violations.push(`accepted: ${what} of ${JSON.stringify(hostile)}`);
      }
    }
    // An executor that had stopped working would refuse everything: it must still do good.
    expected.push((await rig.run()).commandId);
    good += expected.filter((id) => rig.world.effects.includes(id)).length;
    if (good <= turn) violations.push('an executor refused an honest command');
  }
  return { hostileGrants: tried, refusedBy, honestAccepted: good };
}

/** What arrives at a program is what was sent, or nothing starts. */
async function argumentLists(draw: Chance, count: number, violations: string[]) {
  const script = 'for a in "$@" "$KR_VALUE"; do printf "%s\\0" "$a"; done';
  const signal = new AbortController().signal;
  const seen = { unchanged: 0, refused: 0 };
  for (let turn = 0; turn < count; turn += 1) {
    const argv = Array.from({ length: draw.below(6) }, () => hostileText(draw));
    const KR_VALUE = hostileText(draw);
    const all = [...argv, KR_VALUE];
    const isSound = all.every((text) => text.isWellFormed() && !text.includes('\0'));
    const outcome = await runTool({
      path: '/bin/sh',
      argv: ['-c', script, 'sh', ...argv],
      env: { KR_VALUE },
      timeoutMs: 60_000,
      signal,
    }).then(
      ({ stdout }) => stdout,
      (error: unknown) => (error instanceof SandboxError ? error : String(error)),
    );
    const isRefused = outcome instanceof SandboxError;
    const isUnchanged = outcome === all.map((text) => `${text}\0`).join('');
    if (isSound ? !isUnchanged : !isRefused) violations.push(`argv ${JSON.stringify(all)}`);
    seen[isRefused ? 'refused' : 'unchanged'] += 1;
  }
  return seen;
}

const good = '#!/bin/sh\necho good\n';
const evil = '#!/bin/sh\necho evil\n';
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

async function runScript(folder: string, path: string, between: () => Promise<void>) {
  const policy = parsePolicy(JSON.stringify({ scripts: { [path]: sha256(good) } }));
  const readPolicy = async () => {
    await between();
    return policy;
  };
  const runner = createScriptRunner({ folder: join(folder, 'run'), readPolicy });
  const signal = new AbortController().signal;
  return runner.run({ path, argv: [], env: {}, timeoutMs: 60_000, signal }).then(
    ({ stdout }) => stdout.trim(),
    (error: unknown) => (error instanceof SandboxError ? 'refused' : String(error)),
  );
}

const write = (path: string, text: string): Promise<void> => writeFile(path, text, { mode: 0o755 });

/** The file changes before it is read, after it was checked, or not at all. */
async function changedScripts(draw: Chance, count: number, violations: string[]) {
  const folder = await trustedFolder();
  const path = join(folder, 'tool');
  const seen: Record<string, number> = {};
  try {
    for (let turn = 0; turn < count; turn += 1) {
      await rm(path, { force: true });
      const [isEvilBefore, isEvilBetween] = [draw.is(0.5), draw.is(0.5)];
      await write(path, isEvilBefore ? evil : good);
      const text = isEvilBetween ? evil : good;
      const outcome = await runScript(folder, path, async () => {
        if (draw.is(0.5)) return writeFile(path, text);
        await write(join(folder, 'next'), text);
        await rename(join(folder, 'next'), path);
      });
      const expected = isEvilBefore ? 'refused' : 'good';
      if (outcome !== expected) violations.push(`changed script: ${outcome}, not ${expected}`);
      seen[outcome] = (seen[outcome] ?? 0) + 1;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return seen;
}

/** A folder on the way is exchanged for a symlink to an evil one, without a pause. */
async function swappedPaths(count: number, violations: string[]) {
  const folder = await trustedFolder();
  const [real, wrong, way] = ['real', 'wrong', 'way'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const place of [real, wrong]) await mkdir(place);
  await write(join(real, 'tool'), good);
  await write(join(wrong, 'tool'), evil);
  const swapping = swapWithoutPause(folder);
  const seen: Record<string, number> = {};
  try {
    for (let turn = 0; turn < count; turn += 1) {
      const outcome = await runScript(folder, join(way, 'tool'), async () => undefined);
      if (outcome !== 'good' && outcome !== 'refused') violations.push(`swap: ${outcome}`);
      seen[outcome] = (seen[outcome] ?? 0) + 1;
    }
  } finally {
    await swapping.end();
    await rm(folder, { recursive: true, force: true });
  }
  return seen;
}

const traps = [
  'LD_PRELOAD',
  'LD_LIBRARY_PATH',
  'LD_AUDIT',
  'BASH_ENV',
  'ENV',
  'IFS',
  'PS4',
  'PERL5LIB',
  'PERL5OPT',
  'PYTHONPATH',
  'NODE_OPTIONS',
  'GCONV_PATH',
  'KR_ENROL_TOKEN',
  'BASH_FUNC_echo%%',
];

/** What stands in the daemon's own environment reaches no program; bad names start nothing. */
async function environment(violations: string[]): Promise<{ traps: number; badNames: number }> {
  const signal = new AbortController().signal;
  const run = { path: '/usr/bin/env', argv: [], timeoutMs: 60_000, signal };
  // Set here alone, where no library of ours is loaded any more by it.
  for (const name of traps) process.env[name] = 'trap';
  const { stdout } = await runTool({ ...run, env: { KR_GUEST: '100' } });
  for (const name of traps) delete process.env[name];
  const names = stdout.trim().split('\n');
  const expected = ['KR_GUEST=100', 'LC_ALL=C', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin'];
  if (names.toSorted().join('\n') !== expected.join('\n')) violations.push(`env ${stdout}`);
  const badNames = ['A=B', '', '1A', 'A B', 'A\0', 'A\n', 'BASH_FUNC_x%%', 'é'];
  for (const name of badNames) {
    const outcome = await runTool({ ...run, env: { [name]: 'x' } }).catch(
      (error: unknown) => error,
    );
    if (!(outcome instanceof SandboxError)) violations.push(`name ${JSON.stringify(name)}`);
  }
  return { traps: traps.length, badNames: badNames.length };
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const violations: string[] = [];
  const granted = await grants(chance(seed), n, violations);
  say(`${granted.hostileGrants} hostile grants`);
  const lists = await argumentLists(chance(seed + 1), n, violations);
  say(`${lists.unchanged + lists.refused} argument lists`);
  const races = Math.max(60, Math.floor(n / 10));
  const changed = await changedScripts(chance(seed + 2), races, violations);
  const swapped = await swappedPaths(races, violations);
  return {
    ...granted,
    upperBound: upperBound(granted.hostileGrants),
    argumentLists: lists,
    changedScripts: changed,
    swappedPaths: swapped,
    environment: await environment(violations),
    violations,
  };
}

export const r26 = experiment(import.meta, { name: 'R26', short: 300, long: 10_000, run });
