/**
 * The client commands, put together: each asks the server by its public API, and decides nothing.
 * Where it runs without a server, it says in one line how to reach one.
 */
import { hostname } from 'node:os';
import { type Command, Option } from 'commander';
import { nodeIdOfHost } from '../../broker/contract/ids.ts';
import type { Clock, NewId } from '../../broker/contract/ports.ts';
import { wakerKinds } from '../act/wake-ways.ts';
import { roles } from '../http/access.ts';
import * as accounts from './accounts.ts';
import { act, resolveCommand, setHold, settle } from './act.ts';
import { type ClientApi, createClientApi } from './api.ts';
import { backtest, type BacktestOptions } from './backtest.ts';
import { readServerAddress } from './config.ts';
import { enrol } from './enrol.ts';
import { json } from './output.ts';
import { showCommands, showGuests, showNodes, showStatus, showWhy } from './look.ts';
import { checkFile, diffPolicies, enablePolicy, showPolicies } from './policy.ts';
import { personAt, type Terminal } from './person.ts';
import { type Person, proveWake, ProveWakeRefused } from './prove-wake.ts';
import { top } from './top.ts';
import { addUpkeep } from './upkeep.ts';

type Parts = Terminal & { clock: Clock; newId: NewId };

type Deps = Parts & { api: ClientApi; person: Person };
type Json = { json?: boolean };
type ProveOptions = Json & { cycles: string; waker: string; confirm?: string };
type ActOptions = Json & {
  arg: string[];
  by?: string;
  reason?: string;
  confirm?: string;
  wait: boolean;
  dryRun?: boolean;
};
/** Runs with a connection to the server, prints what it answers, and closes the connection. */
type Run = (work: (deps: Deps) => Promise<string | void>) => Promise<void>;

const jsonFlag = ['--json', 'as JSON, with every field'] as const;

function runnerOf(partsOf: () => Parts): Run {
  return async (work) => {
    const parts = partsOf();
    const api = createClientApi(readServerAddress());
    try {
      const told = await work({ ...parts, api, person: personAt(parts) });
      if (told !== undefined) parts.output.write(`${told}\n`);
    } finally {
      await api.close();
    }
  };
}

function cyclesOf(text: string): number {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  throw new ProveWakeRefused(`--cycles ${text}: write a number; a proof needs 3`);
}

function addLooking(program: Command, run: Run): void {
  program
    .command('status')
    .description('clusters, HOLD, and what is in doubt')
    .option(...jsonFlag)
    .action((options: Json) => run(({ api }) => showStatus(api, options)));
  const lists = [
    ['nodes', 'every node with its load', showNodes],
    ['guests', 'every guest with its load', showGuests],
  ] as const;
  for (const [name, description, show] of lists) {
    program
      .command(name)
      .description(description)
      .option('--cluster <id>')
      .option('--state <state>')
      .option(...jsonFlag)
      .action((options) => run(({ api }) => show(api, options)));
  }
  program
    .command('commands')
    .description('what was asked for, newest first')
    .option('--cluster <id>')
    .option('--state <state>')
    .option('--limit <count>', 'how many', '20')
    .option(...jsonFlag)
    .action((options) => run(({ api }) => showCommands(api, options)));
  program
    .command('why')
    .description('the last decision about a node or guest, and what would flip it')
    .argument('<who>', 'id or name, or <cluster>/<id>')
    .option(...jsonFlag)
    .action((who: string, options: Json) => run(({ api }) => showWhy(api, who, options)));
  program
    .command('top')
    .description('the busiest nodes, live; Ctrl-C ends it')
    .option(...jsonFlag)
    .action((options: Json) => run((deps) => top(deps.output, options.json === true, deps)));
}

function addPolicies(program: Command, run: Run, partsOf: () => Parts): void {
  const policy = program.command('policy').description('what the engine may do, and when');
  policy
    .command('check')
    .description('without a server; exit code 1: it is wrong')
    .argument('<file>')
    .option(...jsonFlag)
    .action((file: string, options: Json) => {
      const parts = partsOf();
      const { ok, text, problems } = checkFile(file);
      parts.output.write(`${options.json ? json({ ok, problems }) : text}\n`);
      if (!ok) parts.setExitCode(1);
    });
  policy
    .command('diff')
    .description('what differs between two, each a file, a shipped policy or a stored one')
    .argument('<before>')
    .argument('<after>')
    .option(...jsonFlag)
    .action(async (before: string, after: string, options: Json) => {
      const clients: ClientApi[] = [];
      const api = (): ClientApi => {
        const client = createClientApi(readServerAddress());
        clients.push(client);
        return client;
      };
      const text = await diffPolicies(before, after, api, options.json);
      for (const client of clients) await client.close();
      partsOf().output.write(`${text}\n`);
    });
  policy
    .command('list')
    .option(...jsonFlag)
    .action((options: Json) => run(({ api }) => showPolicies(api, options.json === true)));
  policy
    .command('enable')
    .description('let a cluster follow it; a file is stored first, under its name')
    .argument('<policy>', 'a file, or the name of a stored or shipped one')
    .requiredOption('--cluster <id>')
    .option('--name <name>', 'instead of that of the file')
    .option(...jsonFlag)
    .action((wanted: string, options: { cluster: string; name?: string } & Json) =>
      run(({ api }) => enablePolicy(wanted, options, api)),
    );
  program
    .command('backtest')
    .description('what a policy would have done with what is recorded; exit code 1: no result')
    .requiredOption('--policy <file>', 'a policy as YAML, or the name of a shipped one')
    .option('--days <count>', 'up to now', '30')
    .option('--cluster <id>', 'when there is more than one')
    .option('--price <money>', 'of a kWh')
    .option(...jsonFlag)
    .action((options: BacktestOptions) => run((deps) => backtest(options, deps)));
}

const collect = (value: string, before: string[]): string[] => [...before, value];

function addActing(program: Command, run: Run): void {
  program
    .command('act')
    .description('ask for a command and follow it; exit code 3: it did not succeed, 4: in doubt')
    .argument('<kind>', 'guest.migrate, node.wake, ...')
    .argument('<target>', 'id or name, or <cluster>/<id>')
    .option('--arg <name=value>', 'an argument of the command; repeatable', collect, [])
    .option('--by <node>', 'who executes it, when not the node of the target')
    .option('--reason <text>')
    .option('--confirm <guest>', 'its id again, for guest.delete, instead of typing it when asked')
    .option('--no-wait', 'do not follow it')
    .option('--dry-run', 'only ask whether the guards would let it through; exit code 3: no')
    .option(...jsonFlag)
    .action((kind: string, target: string, options: ActOptions) =>
      run(async (deps) => {
        const { arg: args, json = false, ...how } = options;
        const order = { by: undefined, reason: undefined, ...how, kind, target, args, json };
        deps.setExitCode(await act(order, deps));
      }),
    );
  for (const [verb, description] of [
    ['approve', 'let a proposal of the engine go on'],
    ['cancel', 'withdraw a command, where it can be'],
  ] as const) {
    program
      .command(verb)
      .description(description)
      .argument('<command>')
      .option(...jsonFlag)
      .action((id: string, options: Json) => run((deps) => settle(verb, id, deps, options.json)));
  }
  program
    .command('resolve')
    .description('state, as a witness, what became of a command in doubt')
    .argument('<command>')
    .addOption(
      new Option('--outcome <what>').choices(['succeeded', 'failed']).makeOptionMandatory(),
    )
    .requiredOption('--note <text>', 'what you saw')
    .option(...jsonFlag)
    .action((id: string, statement: { outcome: string; note: string } & Json) =>
      run((deps) => resolveCommand(id, statement, deps)),
    );
  program
    .command('hold')
    .description('stop everything, or one cluster; with --release let it go on')
    .argument('[cluster]')
    .option('--release')
    .option('--reason <text>')
    .option(...jsonFlag)
    .action((cluster: string | undefined, options: { release?: true; reason?: string } & Json) =>
      run((deps) => {
        const { release, ...rest } = options;
        return setHold({ cluster, hold: release !== true, ...rest }, deps);
      }),
    );
}

const roleOption = (): Option => new Option('--role <role>').choices(roles);

function addAccounts(program: Command, run: Run): void {
  const user = program.command('user').description('accounts');
  user
    .command('list')
    .option(...jsonFlag)
    .action((options: Json) => run((deps) => accounts.showUsers(deps, options)));
  user
    .command('add')
    .argument('<name>')
    .addOption(roleOption().default('viewer'))
    .option('--clusters <ids>', 'separated by commas; else every one')
    .option(...jsonFlag)
    .action((name: string, options) => run((deps) => accounts.addUser(deps, name, options)));
  user
    .command('change')
    .argument('<name>')
    .addOption(roleOption())
    .option('--clusters <ids>', 'separated by commas, or: every')
    .option('--password', 'asks for a new one')
    .option('--lock', 'let it in no more')
    .option('--unlock', 'let it in again')
    .option('--no-second-factor', 'for who has lost the app')
    .option(...jsonFlag)
    .action((name: string, options) => run((deps) => accounts.changeUser(deps, name, options)));
  const token = program.command('token').description('API tokens');
  token
    .command('list')
    .option(...jsonFlag)
    .action((options: Json) => run((deps) => accounts.showTokens(deps, options)));
  token
    .command('add')
    .description('prints it; it is never shown again')
    .argument('<name>')
    .addOption(roleOption().default('viewer'))
    .option('--clusters <ids>', 'separated by commas; else those of your account')
    .option('--days <count>', 'until it ends; else never')
    .option('--account <user>', 'whose it is, on the machine of the server; elsewhere it is yours')
    .option(...jsonFlag)
    .action((name: string, options) => run((deps) => accounts.addToken(deps, name, options)));
  token
    .command('revoke')
    .argument('<token>', 'its id')
    .option(...jsonFlag)
    .action((id: string, options: Json) => run((deps) => accounts.revokeToken(deps, id, options)));
}

function addNodes(program: Command, run: Run): void {
  program
    .command('enrol')
    .description('a one-use token (15 minutes) for the daemon of a host')
    .argument('<cluster>')
    .argument('[nodes...]', 'its id; several for a daemon that speaks for a cluster by its API')
    .option('--out <file>', 'write it there, readable by its owner alone')
    .option(...jsonFlag)
    .action((cluster: string, named: string[], options: { out?: string } & Json) => {
      const nodes = named.length > 0 ? named : [nodeIdOfHost(hostname())];
      const { out, json: isJson = false } = options;
      return run((deps) => enrol({ cluster, nodes, out, json: isJson }, deps));
    });
  program
    .command('prove-wake')
    .description('show, while you stand by, that a node comes back when it is woken')
    .argument('<node>', 'its id, or <cluster>/<id>')
    .option('--cycles <count>', 'how often', '3')
    .option('--waker <kind>', wakerKinds.join(', '), 'wol')
    .option('--confirm <node>', 'its id again, instead of typing it when asked')
    .option(...jsonFlag)
    .action((node: string, { cycles, waker, confirm, json: isJson }: ProveOptions) =>
      run(async (deps) => {
        const order = { node, cycles: cyclesOf(cycles), waker, confirm };
        const person = isJson ? personAt({ ...deps, output: deps.errors }) : deps.person;
        const { isDone, ...ended } = await proveWake(order, { ...deps, person });
        if (!isDone) deps.setExitCode(1);
        return isJson ? json(ended) : undefined;
      }),
    );
}

export function addClientCommands(program: Command, partsOf: () => Parts): void {
  const run = runnerOf(partsOf);
  addLooking(program, run);
  addActing(program, run);
  addPolicies(program, run, partsOf);
  addAccounts(program, run);
  addNodes(program, run);
  addUpkeep(program, run, (text) => void partsOf().output.write(`${text}\n`));
}
