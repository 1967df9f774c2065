/**
 * A host without a hypervisor: it is watched, nothing on it is ever touched. `guests` is `[]`,
 * because this driver knows that there are none, and its capabilities are empty, so every command
 * is refused before it reaches this machine.
 */
import type { Sampler } from '../sample/sampler.ts';
import { createOwnFacts, type OwnFactsOptions } from './own-facts.ts';
import type { Hypervisor } from './port.ts';

export type HostOptions = OwnFactsOptions & { sampler: Sampler; daemonVersion: string };

export function createHostHypervisor(options: HostOptions): Hypervisor {
  const { node, sampler, daemonVersion } = options;
  const withOwn = createOwnFacts(options);
  let kernel: string | null = null;
  return {
    nodes: () => [node],
    async describe() {
      const { facts, bootId } = await sampler.facts();
      kernel = facts.kernel;
      return {
        driver: { name: 'host', version: daemonVersion, simulated: false, capabilities: [] },
        bootId,
        facts: { ...(await withOwn(facts)), runningGuests: 0 },
        guests: [],
      };
    },
    async sample() {
      return {
        node: await sampler.sample(),
        guests: [],
        membersOnline: null,
        versions: { daemon: daemonVersion, hypervisor: null, kernel },
      };
    },
    perform: async ({ action }) => ({
      exitCode: null,
      detail: `this host is only observed: no driver performs ${action.kind}`,
      output: '',
    }),
    observe: async () => ({
      postcondition: null,
      detail: 'this host is only observed: there is no hypervisor to ask',
    }),
    close: async () => undefined,
  };
}
