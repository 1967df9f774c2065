/**
 * The unix socket behind which the world stands for the fake tools. One connection is one call of
 * one tool; its end does not end what it began, as a worker of Proxmox outlives its terminal.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { runCall } from './commands.ts';
import { Call, type Effect, Logged, received, send } from './frames.ts';
import { pause, type Pve, ToolFailure } from './pve.ts';

export type ProxmoxServer = {
  /** Calls so far, as tool and arguments. */
  readonly calls: readonly Call[];
  close(): Promise<void>;
};

async function serve(pve: Pve, socket: Socket, calls: Call[]): Promise<void> {
  const lines = received(socket);
  const first = await lines.next();
  if (first.done) return;
  const call = Call.parse(first.value);
  calls.push(call);
  const fault = pve.faultOf(call);
  if (fault?.kind === 'hang') return;
  if (fault?.kind === 'delay') await pause(pve, fault.delayMs);
  const log = async (effect: Omit<Effect, 'atMs' | 'node'>): Promise<void> => {
    const atMs = pve.clock.wallMs();
    send(socket, { step: 'effect', effect: { atMs, node: call.node, ...effect } });
    const answer = await lines.next();
    // A tool killed before it wrote its line never began anything.
    if (answer.done) throw new ToolFailure('the tool has gone');
    Logged.parse(answer.value);
  };
  let code = 0;
  try {
    if (fault?.kind === 'fail') throw new ToolFailure(fault.stderr, fault.exitCode);
    await runCall(pve, call, { out: (text) => send(socket, { step: 'out', text }), log });
  } catch (error) {
    if (!(error instanceof ToolFailure)) throw error;
    send(socket, { step: 'err', text: `${error.message}\n` });
    code = error.exitCode;
  }
  send(socket, { step: 'exit', code });
}

export async function serveProxmox(pve: Pve, path: string): Promise<ProxmoxServer> {
  const sockets = new Set<Socket>();
  const calls: Call[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
    void serve(pve, socket, calls);
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    calls,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
