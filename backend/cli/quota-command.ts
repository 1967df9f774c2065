/** `quota` as the command line offers it; what runs is loaded when it is asked for. */
import type { Command } from 'commander';
import type { ClientApi } from './api.ts';
import type { QuotaChange, QuotaScope } from './quota.ts';

type Run = (work: (deps: { api: ClientApi }) => Promise<string | void>) => Promise<void>;
type Json = { json?: boolean };

const jsonFlag = ['--json', 'as JSON, with every field'] as const;

const scoped = (command: Command): Command =>
  command
    .option('--cluster <id>', 'of this cluster')
    .option('--account <user>', 'of the guests that this account made')
    .option('--each-account-on-lxd', 'of the guests on LXD of each account without one of its own')
    .option(...jsonFlag);

export function addQuotas(program: Command, run: Run): void {
  const quota = program
    .command('quota')
    .description('limits of virtual cpus and memory, and what is taken of them');
  quota
    .command('list', { isDefault: true })
    .description('all limits; for administrators')
    .option(...jsonFlag)
    .action((options: Json) =>
      run(async (deps) => (await import('./quota.ts')).listQuotas(deps, options)),
    );
  quota
    .command('mine')
    .description('yours, and what your guests take of it')
    .option(...jsonFlag)
    .action((options: Json) =>
      run(async (deps) => (await import('./quota.ts')).ownQuota(deps, options)),
    );
  scoped(
    quota
      .command('set')
      .description('a limit; of all clusters together where no other is named')
      .option('--cpus <count>', 'virtual cpus, or: none')
      .option('--memory <size>', 'such as 512M, 64G or 1.5T, powers of 1024, or: none'),
  ).action((change: QuotaChange) =>
    run(async (deps) => (await import('./quota.ts')).setQuota(deps, change)),
  );
  scoped(
    quota.command('remove').description('as if it had never been set; the default holds again'),
  ).action((scope: QuotaScope & Json) =>
    run(async (deps) => (await import('./quota.ts')).removeQuota(deps, scope)),
  );
}
