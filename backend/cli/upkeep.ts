/** The client commands that keep a server and its house well, put together. */
import { Argument, type Command } from 'commander';
import { listBackups, makeBackup, showBackupKey } from './backup.ts';
import { completionScript, type Shell, shells } from './completion.ts';
import { readDataDir } from './config.ts';
import { keepAwake } from './keep-awake.ts';
import { maintain, type MaintenanceOrder } from './maintenance.ts';
import { addNotify } from './notify-command.ts';
import { addQuotas } from './quota-command.ts';
import { addUpgrade } from './upgrade-command.ts';

type Run = Parameters<typeof addUpgrade>[1];
type Json = { json?: boolean };

const jsonFlag = ['--json', 'as JSON, with every field'] as const;

export function addUpkeep(program: Command, run: Run, say: (text: string) => void): void {
  const backup = program
    .command('backup')
    .description('make an encrypted backup now; the server makes one every 15 minutes by itself')
    .option('--out <file>', 'and copy it there')
    .option(...jsonFlag)
    .action((options: Json & { out?: string }) => run((deps) => makeBackup(deps, options)));
  backup
    .command('list')
    .description('those that lie in the backup folder')
    .option(...jsonFlag)
    .action((options: Json) => run((deps) => listBackups(deps, options)));
  backup
    .command('key')
    .description('what opens them, to be kept elsewhere; only on the machine of the server')
    .option(...jsonFlag)
    .action(async (options: Json) => say(await showBackupKey(readDataDir(), options)));
  program
    .command('keep-awake')
    .description('nothing puts a node to sleep for a while')
    .argument('<node>', 'its id, or <cluster>/<id>')
    .option('--for <time>', 'such as 90m, 4h or 2d', '4h')
    .option('--end', 'let it sleep again')
    .option('--reason <text>')
    .option(...jsonFlag)
    .action((node: string, options: { for: string; end?: boolean; reason?: string } & Json) =>
      run((deps) => keepAwake(deps, node, options)),
    );
  addNotify(program, run);
  program
    .command('maintenance')
    .description('empty a node and take it in hand; --end gives it back and its guests return')
    .argument('<node>', 'its id, or <cluster>/<id>')
    .option('--sleep', 'and switch it off once it is empty')
    .option('--now', 'take it in hand as it is: its guests stay on it')
    .option('--end', 'it is over: wake it, and bring its guests back')
    .option('--stay', 'with --end: guests that were moved stay where they are')
    .option('--reason <text>')
    .option(...jsonFlag)
    .action((node: string, options: MaintenanceOrder) =>
      run((deps) => maintain(deps, node, options)),
    );
  addUpgrade(program, run);
  addQuotas(program, run);
  program
    .command('completion')
    .description('a script for your shell: source <(kernreaktor completion bash)')
    .addArgument(new Argument('<shell>').choices(shells))
    .action((shell: Shell) => say(completionScript(program, shell)));
}
