/**
 * `simulate` as the command line offers it. What runs is loaded when it is asked for, so that no
 * other command waits for a simulator.
 */
import type { Command } from 'commander';
import type { SimulatorParts } from './main.ts';
import { scenarios } from './scenarios/index.ts';

/** Adds `simulate` to the command line. Values are checked by us, so that errors look alike. */
export function addSimulateCommand(program: Command, parts: () => SimulatorParts): void {
  const simulate = program
    .command('simulate')
    .description('load a running server with simulated nodes and report what it did')
    .option('--profile <file>', 'stages, load, commands, faults and promises as YAML')
    .option('--nodes <count>', 'simulated nodes (16)')
    .option('--nodes-per-cluster <count>', 'nodes of one cluster (16)')
    .option('--guests <count>', 'guests on each node (20)')
    .option('--interval <seconds>', 'between two samples of a node (5)')
    .option('--seed <number>', 'same seed, same world (42)')
    .option('--scenario <name>', [...scenarios.keys()].join(', '))
    .option('--minutes <minutes>', 'how long it runs (5)')
    .option('--connect-rate <count>', 'new connections in a second (as many as the broker takes)')
    .option('--aligned', 'all nodes sample in the same instant')
    .option('--find-knee', 'raise the load until a promise breaks, and say where')
    .option('--slo <promises>', "exit with 99 unless they hold, for example 'lost==0,p99<250ms'")
    .option('--commands <count>', 'commands of every kind to send through the API (0)')
    .option('--cluster-prefix <id>', 'clusters are called <id>-001 and so on (sim)')
    .option('--time-scale <factor>', 'how much faster the simulated world runs (1)')
    .option('--auto', 'let the engine migrate guests of these clusters by itself')
    .option('--broker <url>', 'where daemons connect: mqtt, mqtts, ws or wss')
    .option('--broker-ca <file>', 'PEM of the CA that the broker must come from')
    .option('--broker-fingerprint <sha256>', 'or the SHA-256 of that CA')
    .option('--broker-cert <file>', 'PEM of a client certificate')
    .option('--broker-key <file>', 'PEM of its key')
    .option('--broker-only', 'load a bare broker, with a subscriber of our own')
    .option('--broker-user <name>', 'with --broker-only; the password is KR_MQTT_PASSWORD')
    .option('--broker-pid <pid>', 'process of that broker here, to tell what it costs')
    .option('--i-may-load-this', 'load a server or broker that is not on this machine')
    .option('--shard <k/n>', 'be the k-th of n simulators; put together by simulate merge')
    .option('--json', 'print only the JSON object with the figures')
    .option('--out <file>', 'write that object with a row for each second')
    .option('--csv <file>', 'write a row for each second')
    .option('--html <file>', 'write a page with charts of every second')
    .option('--journal-dir <folder>', 'keep the journals of the daemons as real files there')
    .option('--effect-log <file>', 'append what really happened in the world, one JSON a line')
    .action(async (raw: Record<string, unknown>) => {
      const { simulateCommand } = await import('./main.ts');
      await simulateCommand(raw, parts());
    });
  simulate
    .command('compare')
    .description('what a change made better or worse; exits with 99 when something is worse')
    .argument('<before>', 'JSON of --out')
    .argument('<after>')
    .option('--tolerance <percent>', 'what counts as the same', '10')
    .action(async (before: string, after: string, options: { tolerance: string }) => {
      const { compareCommand, forgiving } = await import('./outcome.ts');
      forgiving(parts, (own) => compareCommand([before, after], options, own));
    });
  simulate
    .command('merge')
    .description('put the reports of all shards together')
    .argument('<reports...>', 'JSON of --out, one of each --shard')
    .option('--json', 'print only the JSON object with the figures')
    .option('--out <file>', 'write that object with a row for each second')
    .option('--csv <file>', 'write a row for each second')
    .option('--html <file>', 'write a page with charts of every second')
    .action(async (files: string[], _options: object, command: Command) => {
      const { conclude, forgiving, readReport } = await import('./outcome.ts');
      const { mergeReports } = await import('./load/merge.ts');
      forgiving(parts, (own) =>
        // Named as those of simulate, which would take them for its own.
        conclude(mergeReports(files.map(readReport)), command.optsWithGlobals(), own),
      );
    });
}
