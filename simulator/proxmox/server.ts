/**
 * The unix socket behind which the world stands for the fake tools. One connection is one call of
 * one tool; its end ends the task that works in its foreground, as with Proxmox, and no other.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { runCall } from './commands.ts';
import { type Call, type Effect, listen, send, sendExit } from './frames.ts';
import { pause, type Pve, ToolFailure } from './pve.ts';

export type ProxmoxServer = {
  /** Latest calls, as tool and arguments. */
  readonly calls: readonly Call[];
  close(): Promise<void>;
};

const callsMax = 20_000;

async function serve(pve: Pve, socket: Socket, calls: Call[]): Promise<void> {
  const tool = listen(socket);
  const call = await tool.call();
  if (call === null) return;
  calls.push(call);
  if (calls.length > callsMax) calls.splice(0, callsMax / 2);
  const fault = pve.faultOf(call);
  if (fault?.kind === 'hang') return;
  if (fault?.kind === 'delay') await pause(pve, fault.delayMs);
  const log = async (effect: Omit<Effect, 'atMs' | 'node'>): Promise<void> => {
    const line: Effect = { atMs: pve.clock.wallMs(), node: call.node, ...effect };
    const { argv } = call;
    send(socket, 'log', `${JSON.stringify({ ...line, tool: call.tool, argv })}\n`);
    // A tool killed before it wrote its line never began anything.
    if ((await tool.line()) !== 'logged') throw new ToolFailure('the tool has gone');
  };
  let code = 0;
  try {
    if (fault?.kind === 'fail') throw new ToolFailure(fault.stderr, fault.exitCode);
    const out = (text: string): void => send(socket, 'out', text);
    await runCall(pve, call, { out, hasGone: () => socket.destroyed, log });
  } catch (error) {
    if (!(error instanceof ToolFailure)) throw error;
    send(socket, 'err', `${error.message}\n`);
    code = error.exitCode;
  }
  sendExit(socket, code);
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
