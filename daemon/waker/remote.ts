/**
 * The wakers of an executor that has no network: programs it runs itself, everything else is sent
 * by the agent at its order. Which waker a node has, and in which order, is the administrator's
 * daemon.yaml here as everywhere; the agent only says what it sent.
 */
import type { ScriptRunner } from '../command/script-trust.ts';
import { createIpmiWaker } from './ipmi.ts';
import type { Waker } from './port.ts';
import { createScriptWaker } from './script.ts';
import type { WakersByNode } from './settings.ts';

export type SendWake = (
  name: Waker['name'],
  request: Parameters<Waker['wake']>[0],
) => ReturnType<Waker['wake']>;

type Way = WakersByNode[string][number];

export function createRemoteWakers(
  byNode: WakersByNode,
  scripts: ScriptRunner,
  send: SendWake,
): Waker[] {
  const remote = (name: Waker['name'], serves: (node: string) => boolean): Waker => ({
    name,
    serves,
    isUnanswered: name === 'wol',
    wake: (request) => send(name, request),
  });
  const wakerOf = (way: Way, serves: (node: string) => boolean): Waker => {
    switch (way.kind) {
      case 'ipmi':
        return createIpmiWaker(way, serves);
      case 'script':
        return createScriptWaker(way, scripts, serves);
      case 'wol':
      case 'redfish':
      case 'plug':
      default:
        return remote(way.kind, serves);
    }
  };
  const listed = Object.entries(byNode).flatMap(([node, ways]) =>
    ways.map((way) => wakerOf(way, (asked) => asked === node)),
  );
  return [...listed, remote('wol', (node) => !Object.hasOwn(byNode, node))];
}

/** What of daemon.yaml the agent sends; the rest is the executor's. */
export const networkWays = (byNode: WakersByNode): WakersByNode =>
  Object.fromEntries(
    Object.entries(byNode).map(([node, ways]) => [
      node,
      ways.filter(({ kind }) => kind !== 'ipmi' && kind !== 'script'),
    ]),
  );
