/**
 * Every waker of this daemon, in the order in which they are tried: for a node of daemon.yaml its
 * own list and nothing else, for every other node Wake on LAN. Which one a missed deadline calls
 * for next is the server's to say, in a new command.
 */
import type { ScriptRunner } from '../command/script-trust.ts';
import { createIpmiWaker } from './ipmi.ts';
import { createPlugWaker, type PlugDeps } from './plug.ts';
import type { Waker } from './port.ts';
import { createScriptWaker } from './script.ts';
import type { WakersByNode } from './settings.ts';
import { createWolWaker, type WolOptions } from './wol.ts';

export type WakerDeps = PlugDeps & { links: WolOptions['links']; scripts: ScriptRunner };

type Way = WakersByNode[string][number];

function wakerOf(way: Way, deps: WakerDeps, serves: (node: string) => boolean): Waker {
  switch (way.kind) {
    case 'ipmi':
      return createIpmiWaker(way, serves);
    case 'redfish':
      return {
        name: 'redfish',
        serves,
        // Loaded when it is needed: its HTTP client takes more memory than the rest of us.
        async wake(request, signal) {
          const { createRedfishWaker } = await import('./redfish.ts');
          return createRedfishWaker(way, serves).wake(request, signal);
        },
      };
    case 'plug':
      return createPlugWaker(way, deps, serves);
    case 'script':
      return createScriptWaker(way, deps.scripts, serves);
    case 'wol':
    default:
      return { ...createWolWaker({ links: deps.links }), serves };
  }
}

export function createWakers(byNode: WakersByNode, deps: WakerDeps): Waker[] {
  const listed = Object.entries(byNode).flatMap(([node, ways]) =>
    ways.map((way) => wakerOf(way, deps, (asked) => asked === node)),
  );
  const wol = createWolWaker({ links: deps.links });
  return [...listed, { ...wol, serves: (node) => !Object.hasOwn(byNode, node) }];
}
