/**
 * What nodes send, worked off outside the broker's call: claims, reports and hellos, each one
 * step. What cannot be taken now is left to its sender's repetition, except a hello, which comes
 * once a session and is tried again here.
 */
import type { Message } from '../../broker/contract/messages.ts';
import { onClaim } from './grant.ts';
import { isPassing } from './loop.ts';
import { createMailbox } from './mailbox.ts';
import { onReport } from './reports.ts';
import { type Context, inStep } from './step.ts';
import { onHello } from './sync.ts';

/** One slow transaction of 10 ms each: ten seconds of a cluster's messages. */
const perClusterMax = 1_000;
const totalMax = 20_000;
/** A lease runs out after 10 s; a hello that found none waits a little longer than that. */
const helloRetryMs = 1_000;
const helloRetriesMax = 15;

type Sent = Message<'claim' | 'report' | 'hello'>;
export type Inbox = { take(message: Sent): void; close(): Promise<void> };

export function createInbox(context: Context): Inbox {
  const mailbox = createMailbox({ perClusterMax, totalMax });
  const { counters, log, clock, reach } = context;

  const handle = (message: Sent): Promise<void> =>
    inStep(context, message.cluster, async (step) => {
      if (message.name === 'claim') await onClaim(step, message);
      else if (message.name === 'report') await onReport(step, message);
      else await onHello(step, message);
    });

  function take(message: Sent, attempt: number): void {
    const { cluster, node, session, name } = message;
    const isTaken = mailbox.push(cluster, async () => {
      try {
        await handle(message);
      } catch (error) {
        if (!isPassing(error)) throw error;
        log.debug({ cluster, node, name, err: error }, 'message not taken');
        counters.foreignMessages += 1;
        // Claims and reports are repeated by their sender; a hello comes once a session.
        const isCurrent = reach.contact(cluster, node).session === session;
        if (name === 'hello' && isCurrent && attempt < helloRetriesMax) {
          clock.after(helloRetryMs, () => take(message, attempt + 1));
        }
      }
    });
    if (!isTaken) counters.droppedMessages += 1;
  }
  return { take: (message) => take(message, 0), close: () => mailbox.close() };
}
