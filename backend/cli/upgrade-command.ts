/** `upgrade` as the command line offers it; what runs is loaded when it is asked for. */
import type { Command } from 'commander';
import { durationOf } from './keep-awake.ts';
import type { Deps as StepDeps } from './upgrade-step.ts';

type Deps = StepDeps & { setExitCode(code: number): void };
type Run = (work: (deps: Deps) => Promise<string | void>) => Promise<void>;
type Options = {
  cluster?: string;
  to?: string;
  canary?: string;
  ssh?: boolean;
  host: string[];
  watch: string;
  canaryWatch: string;
  dryRun?: boolean;
  yes?: boolean;
  json?: boolean;
};

const collect = (value: string, before: string[]): string[] => [...before, value];

async function run(only: string[], options: Options, deps: Deps): Promise<void> {
  const { sshRunner } = await import('./remote.ts');
  const { destinationsOf, upgrade } = await import('./upgrade.ts');
  const { cluster, to = null, canary = null, host, watch, canaryWatch } = options;
  const destinations = destinationsOf(host);
  const isBySsh = options.ssh === true || destinations.size > 0;
  const order = {
    only,
    cluster,
    to,
    canary,
    ssh: isBySsh ? { destinations, run: sshRunner() } : null,
    watchMs: durationOf(watch, '--watch'),
    canaryWatchMs: durationOf(canaryWatch, '--canary-watch'),
    dryRun: options.dryRun === true,
    yes: options.yes === true,
    json: options.json === true,
  };
  deps.setExitCode(await upgrade(order, deps));
}

export function addUpgrade(program: Command, runWith: Run): void {
  program
    .command('upgrade')
    .description('another version for daemons, one by one, a canary first; stops at a fault')
    .argument('[daemons...]', 'only these; else all that have another version')
    .option('--dry-run', 'only say what would be done, in which order')
    .option('--to <version>', 'else the newest package of the server, or its own version')
    .option('--cluster <id>')
    .option('--canary <daemon>', 'the first; else the one with the fewest guests')
    .option('--ssh', 'install by your own ssh, as root@<node>; else you are told each line')
    .option('--host <daemon=destination>', 'where ssh finds one; repeatable', collect, [])
    .option('--watch <time>', 'how long each is watched before the next', '1m')
    .option('--canary-watch <time>', 'how long the first is', '5m')
    .option('--yes', 'begin without being asked')
    .option('--json', 'the plan as JSON; nothing is done')
    .action((only: string[], options: Options) => runWith((deps) => run(only, options, deps)));
}
