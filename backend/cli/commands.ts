/** The client commands: each asks the server by its public API, and decides nothing. */
import type { Command } from 'commander';
import type { Clock } from '../../broker/contract/ports.ts';
import { wakerKinds } from '../act/wake-ways.ts';
import { createClientApi } from './api.ts';
import { readServerAddress } from './config.ts';
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

export function addClientCommands(program: Command, partsOf: () => Parts): void {
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
