/** `notify` as the command line offers it; what runs is loaded when it is asked for. */
import { type Command, Option } from 'commander';
import type { ClientApi } from './api.ts';
import type { ChannelOrder } from './notify.ts';
import type { Person } from './prove-wake.ts';

type Deps = { api: ClientApi; person: Person };
type Run = (work: (deps: Deps) => Promise<string | void>) => Promise<void>;
type Json = { json?: boolean };

const jsonFlag = ['--json', 'as JSON, with every field'] as const;
const kinds = ['ntfy', 'gotify', 'discord', 'email', 'apprise', 'webhook'] as const;
const collect = (value: string, before: string[]): string[] => [...before, value];

function addChannels(notify: Command, run: Run): void {
  notify
    .command('list', { isDefault: true })
    .description('channels, without their secrets')
    .option(...jsonFlag)
    .action((options: Json) =>
      run(async (deps) => (await import('./notify.ts')).listChannels(deps, options)),
    );
  notify
    .command('add')
    .description('a channel, or other words for the one of that name; its secret is asked for')
    .argument('<name>')
    .addOption(new Option('--kind <kind>').choices(kinds).makeOptionMandatory())
    .option('--set <field=value>', 'url, topic, host, from, to, ...; repeatable', collect, [])
    .option('--secret-file <file>', 'token, password, secret or webhookUrl, instead of typing it')
    .option('--fallback <channel>', 'told after three failures of this one')
    .option('--off', 'keep it, and send nothing there')
    .option(...jsonFlag)
    .action((name: string, order: ChannelOrder) =>
      run(async (deps) => (await import('./notify.ts')).putChannel(deps, name, order)),
    );
  notify
    .command('remove')
    .argument('<channel>')
    .option(...jsonFlag)
    .action((name: string, options: Json) =>
      run(async (deps) => (await import('./notify.ts')).removeChannel(deps, name, options)),
    );
  notify
    .command('test')
    .description('send a message there now; exit code 2 and the reason when it is not taken')
    .argument('<channel>')
    .option(...jsonFlag)
    .action((name: string, options: Json) =>
      run(async (deps) => (await import('./notify.ts')).testChannel(deps, name, options)),
    );
}

export function addNotify(program: Command, run: Run): void {
  const notify = program
    .command('notify')
    .description('channels of notifications and what was told');
  addChannels(notify, run);
  notify
    .command('told')
    .description('the newest notices')
    .option(...jsonFlag)
    .action((options: Json) =>
      run(async (deps) => (await import('./notify.ts')).showTold(deps, options)),
    );
  notify
    .command('dead')
    .description('what no attempt could deliver')
    .option(...jsonFlag)
    .action((options: Json) =>
      run(async (deps) => (await import('./notify.ts')).showDead(deps, options)),
    );
  notify
    .command('retry')
    .argument('<delivery>', 'its id, or: all')
    .option(...jsonFlag)
    .action((which: string, options: Json) =>
      run(async (deps) => (await import('./notify.ts')).retryDead(deps, which, options)),
    );
  notify
    .command('settings')
    .description('rules, quiet hours, morning line and dead-man ping, as YAML')
    .option('--file <file>', 'replace them by these; what is left out becomes its default')
    .option(...jsonFlag)
    .action((options: Json & { file?: string }) =>
      run(async (deps) => (await import('./notify.ts')).settings(deps, options)),
    );
}
