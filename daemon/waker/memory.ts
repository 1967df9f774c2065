/**
 * The twin's waker: hands the MAC to the simulated world, as a magic packet would reach a network.
 * It sees no more than a real one: that it sent, not that anybody woke.
 */
import type { World } from '../hypervisor/memory.ts';
import { WakeError, type Waker } from './port.ts';

/** `from` is the node whose network card sends. */
export const memoryWaker = (world: World, from: string): Waker => ({
  name: 'memory',
  async wake(request, signal) {
    if (signal.aborted) throw new WakeError('KR_WAKE_SEND', 'the wake was called off');
    if (request.macs.length === 0) {
      throw new WakeError('KR_BAD_MAC', `node ${request.node} has no known MAC address`);
    }
    return world.wake(from, request);
  },
});
