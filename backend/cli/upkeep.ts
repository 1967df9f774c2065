/** The client commands that keep a server well, put together: backups. */
import type { Command } from 'commander';
import type { ClientApi } from './api.ts';
import { listBackups, makeBackup, showBackupKey } from './backup.ts';
import { readDataDir } from './config.ts';

type Deps = { api: ClientApi };
type Run = (work: (deps: Deps) => Promise<string | void>) => Promise<void>;
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
    .action(async () => say(await showBackupKey(readDataDir())));
}
