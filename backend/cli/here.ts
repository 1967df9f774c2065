/**
 * The commands that read or change what lies on the machine of the server, and ask no running one:
 * they work when it is down. What each needs is loaded when it is asked for.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { RestoreOptions } from '../backup/restore-command.ts';
import { configPath, readSettings } from '../config.ts';
import type { ReachParts } from '../doctor/reach.ts';
import { givenEnvironment } from './config.ts';
import { json as textOfJson } from './output.ts';
import type { Terminal } from './person.ts';
import type { BundleOptions } from './support-bundle.ts';

export type HereDeps = Terminal & { partsOf: (logLevel: string) => ReachParts };
type Json = { json?: boolean };

const sayTo =
  ({ output }: HereDeps) =>
  (text: string): void =>
    void output.write(`${text}\n`);

/** Prints both files, or writes them where `--out` says. */
async function showAcl(deps: HereDeps, { out: folder, json }: Json & { out?: string }) {
  const say = sayTo(deps);
  const { mosquittoFilesOf, writeMosquittoFiles } = await import('../broker-acl.ts');
  const files = await mosquittoFilesOf(readSettings(), deps.partsOf('warn'));
  const written = folder === undefined ? null : await writeMosquittoFiles(files, folder);
  if (json) return say(textOfJson(written === null ? files : { written }));
  if (written) return say(written.join('\n'));
  say(`# mosquitto.passwords\n${files.passwords}\n# mosquitto.acl\n${files.acl}`);
}

async function checkConfig(deps: HereDeps, file: string | undefined, { json }: Json) {
  const say = sayTo(deps);
  const { checkConfigFile } = await import('../config-file.ts');
  const path = file ?? configPath(readSettings());
  if (file === undefined && !existsSync(path)) {
    const word = 'is not there, so every default holds';
    return say(json ? textOfJson({ path, ok: true, problems: [] }) : `${path} ${word}`);
  }
  const checked = checkConfigFile(readFileSync(path, 'utf8'));
  const problems = checked.ok ? [] : checked.problems;
  if (!checked.ok) deps.setExitCode(1);
  if (json) return say(textOfJson({ path, ok: checked.ok, problems }));
  if (checked.ok) return say(`${path}: fine`);
  for (const { line, column, field, hint } of problems) {
    deps.errors.write(`${path}:${line}:${column} ${field}: ${hint}\n`);
  }
}

async function restoreBackup(deps: HereDeps, file: string, options: RestoreOptions) {
  const { restoreFrom } = await import('../backup/restore-command.ts');
  const parts = deps.partsOf('warn');
  sayTo(deps)(await restoreFrom(file, options, { settings: readSettings(), parts }));
}

async function makeBundle(deps: HereDeps, options: BundleOptions) {
  const { personAt } = await import('./person.ts');
  const { runSupportBundle } = await import('./support-bundle.ts');
  const person = personAt(deps);
  sayTo(deps)(await runSupportBundle({ ...deps.partsOf('silent'), person }, options));
}

/** Ends with 1 when something is wrong. */
async function examineHere(deps: HereDeps, { json }: Json) {
  const { textOf } = await import('../doctor/finding.ts');
  const { examineAll } = await import('../doctor/run.ts');
  const findings = await examineAll(deps.partsOf('silent'), givenEnvironment());
  sayTo(deps)(json ? textOfJson(findings) : textOf(findings));
  if (findings.some(({ state }) => state === 'wrong')) deps.setExitCode(1);
}

export function addAcl(broker: Command, deps: HereDeps): void {
  broker
    .command('acl')
    .description("print Mosquitto's password and ACL file for the enrolled daemons")
    .option('--out <folder>', 'write the two files there instead')
    .option('--json', 'as JSON')
    .action((options: Json & { out?: string }) => showAcl(deps, options));
}

/** @returns `doctor`, to which others may add what they examine. */
export function addCommandsHere(program: Command, deps: HereDeps): { doctor: Command } {
  const config = program.command('config').description('kernreaktor.yaml');
  config
    .command('check')
    .argument('[file]')
    .option('--json', 'as JSON')
    .action((file: string | undefined, options: Json) => checkConfig(deps, file, options));
  config.command('schema').action(async () => {
    const { configSchema } = await import('../config-file.ts');
    sayTo(deps)(textOfJson(configSchema()));
  });
  program
    .command('restore')
    .description('put a backup back, on the machine of the server, while it is stopped')
    .argument('<file>')
    .option('--identity <file>', 'the key that opens it; else the one in KR_DATA_DIR')
    .option('--replace', 'replace what store and folder hold now')
    .option('--json', 'as JSON')
    .action((file: string, options: RestoreOptions) => restoreBackup(deps, file, options));
  program
    .command('support-bundle')
    .description('what a helper needs to know, without secrets, addresses and names; shown first')
    .option('--out <file>', 'where to', 'kernreaktor-support.txt')
    .option('--yes', 'write it without asking')
    .option('--json', 'with --yes: show nothing, and say as JSON where it is')
    .action((options: BundleOptions) => makeBundle(deps, options));
  const doctor = program
    .command('doctor')
    .description('looks at this machine, stores, broker, clock and nodes; says what mends them')
    .enablePositionalOptions()
    .option('--json', 'as JSON')
    .action((options: Json) => examineHere(deps, options));
  return { doctor };
}
