/**
 * The world the simulation acts on: guests and an append-only log of effects, the only ground
 * truth. What a hypervisor began goes on when the daemon that asked for it dies. Nothing here
 * shares code with the protocol under test.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { NodeFacts } from '../../broker/contract/facts.ts';
import type { Clock, Random } from '../../broker/contract/ports.ts';
import type { Hypervisor, Performed } from '../../daemon/hypervisor/port.ts';

export const kinds: CommandKind[] = [
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

export type Began = { commandId: string; kind: string; atMs: number };
export type World = {
  effects: Began[];
  /** Commands whose effect is complete. */
  ended: Set<string>;
  driverOf(node: string, bootId: string, isAlive: () => boolean): Hypervisor;
};

export const factsOf = (node: string): NodeFacts =>
  NodeFacts.parse({
    links: [
      {
        name: 'eth0',
        mac: `02:00:00:00:00:0${node.slice(-1)}`,
        broadcast: '192.168.1.255',
        wakeOnMagic: true,
      },
    ],
    cpuVendor: 'GenuineIntel',
    hypervisorVersion: 'memory 1',
    roles: [],
    busy: [],
    upsOnBattery: false,
  });

const dead = new Promise<never>(() => undefined);

export function createWorld(clock: Clock, random: Random): World {
  const effects: Began[] = [];
  const ended = new Set<string>();
  const alive = async (isAlive: () => boolean): Promise<void> => {
    if (!isAlive()) await dead;
  };
  return {
    effects,
    ended,
    driverOf: (node, bootId, isAlive) => ({
      nodes: () => [node],
      async describe() {
        await alive(isAlive);
        const driver = {
          name: 'memory' as const,
          version: null,
          simulated: true,
          capabilities: kinds,
        };
        return { driver, bootId, facts: factsOf(node), guests: null } as const;
      },
      sample: () => Promise.reject(new Error('no sample')),
      async perform({ commandId, action }) {
        await alive(isAlive);
        effects.push({ commandId, kind: action.kind, atMs: clock.monotonicMs() });
        return new Promise<Performed>((resolve) => {
          clock.after(500 + random.ratio() * 20_000, () => {
            ended.add(commandId);
            resolve({ exitCode: 0, detail: 'done', output: '' });
          });
        });
      },
      async observe({ commandId }) {
        await alive(isAlive);
        const hasBegun = effects.some((effect) => effect.commandId === commandId);
        const postcondition = ended.has(commandId) ? true : hasBegun ? null : false;
        return { postcondition, detail: 'looked' };
      },
      close: async () => undefined,
    }),
  };
}
