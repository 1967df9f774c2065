/** The client commands: each asks the server by its public API, and decides nothing. */
import { hostname } from 'node:os';
import type { Command } from 'commander';
import { nodeIdOfHost } from '../../broker/contract/ids.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import { wakerKinds } from '../act/wake-ways.ts';
import { createClientApi } from './api.ts';
import { readServerAddress } from './config.ts';
import { enrol } from './enrol.ts';
import { personAt } from './person.ts';
import { proveWake, ProveWakeRefused } from './prove-wake.ts';

type Parts = {
  clock: Clock;
  input: NodeJS.ReadStream;
  output: NodeJS.WriteStream;
  signal: AbortSignal;
  setExitCode(code: number): void;
};

type Options = { cycles: string; waker: string; confirm?: string };

function cyclesOf(text: string): number {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  throw new ProveWakeRefused(`--cycles ${text}: write a number; a proof needs 3`);
}

function addEnrol(program: Command, partsOf: () => Parts): void {
  program
    .command('enrol')
    .description('a one-use token (15 minutes) for the daemon of a host')
    .argument('<cluster>')
    .argument('[node]', 'its id', nodeIdOfHost(hostname()))
    .option('--out <file>', 'write it there, readable by its owner alone')
    .action(async (cluster: string, node: string, { out }: { out?: string }) => {
      const api = createClientApi(readServerAddress());
      try {
        partsOf().output.write(`${await enrol({ cluster, node, out }, { api })}\n`);
      } finally {
        await api.close();
      }
    });
}

export function addClientCommands(program: Command, partsOf: () => Parts): void {
  addEnrol(program, partsOf);
  program
    .command('prove-wake')
    .description('show, while you stand by, that a node comes back when it is woken')
    .argument('<node>', 'its id, or <cluster>/<id>')
    .option('--cycles <count>', 'how often', '3')
    .option('--waker <kind>', wakerKinds.join(', '), 'wol')
    .option('--confirm <node>', 'its id again, instead of typing it when asked')
    .action(async (node: string, { cycles, waker, confirm }: Options) => {
      const parts = partsOf();
      const api = createClientApi(readServerAddress());
      try {
        const order = { node, cycles: cyclesOf(cycles), waker, confirm };
        const isProven = await proveWake(order, { ...parts, api, person: personAt(parts) });
        if (!isProven) parts.setExitCode(1);
      } finally {
        await api.close();
      }
    });
}
