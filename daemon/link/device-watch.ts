/**
 * Looks at the quorum device of each node every 20 s, so that the server's word about its vote is
 * never older than 30 s (SAFETY Q1): silence means that nothing has changed since the last look.
 * Nodes without a device cost nothing.
 */
import { type Agent, isOnline, type NodeState } from './agent.ts';
import { isAsleep, sayHello } from './presence.ts';

const lookEveryMs = 20_000;

async function look(agent: Agent, state: NodeState): Promise<void> {
  const { hypervisor, log } = agent.deps;
  try {
    const said = (await hypervisor.deviceVote?.(state.node)) ?? null;
    const before = state.deviceVote;
    state.deviceVote = said;
    if (before === undefined || before === said || !isOnline(agent)) return;
    await sayHello(agent, state, 'changed');
  } catch (error) {
    if (!isAsleep(error))
      log.warn({ node: state.node, err: error }, 'no word of the quorum device');
  }
}

export function startDeviceWatch(agent: Agent): void {
  const { clock, random, hypervisor } = agent.deps;
  if (!hypervisor.deviceVote) return;
  const run = (): void => {
    agent.cancelDeviceWatch = clock.after(lookEveryMs, run);
    for (const state of agent.nodes.values()) void look(agent, state);
  };
  agent.cancelDeviceWatch = clock.after(Math.floor(random.ratio() * lookEveryMs), run);
}
