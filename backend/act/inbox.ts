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

/**
 * Hellos of a cluster that come together are worked off in one transaction: after a restart of
 * the server 2048 of them arrive at once, and a commit can wait long for a busy disk.
 */
const gatherMs = 20;

type Sent = Message<'claim' | 'report' | 'hello'>;
export type Inbox = { take(message: Sent): void; close(): Promise<void> };

/** False when another backend leads, which costs the store nothing to find out. */
async function handle(context: Context, cluster: string, messages: readonly Sent[]) {
  const { lease } = context;
  const isLed = (): boolean => lease.epochOf(cluster) !== undefined;
  // A cluster made a moment ago has no lease yet; commands for its nodes need what they say now.
  const isNew = messages[0]?.name === 'hello' && !isLed() && lease.mayTake(cluster);
  if (isNew) await lease.refresh(cluster);
  if (!isLed()) return false;
  await inStep(context, cluster, async (step) => {
    for (const message of messages) {
      if (message.name === 'claim') await onClaim(step, message);
      else if (message.name === 'report') await onReport(step, message);
      else await onHello(step, message);
    }
  });
  return true;
}

export function createInbox(context: Context): Inbox {
  const mailbox = createMailbox({ perClusterMax, totalMax });
  const gathered = new Map<string, Message<'hello'>[]>();
  const { counters, log, clock, reach } = context;

  /** Claims and reports are repeated by their sender; a hello comes once a session. */
  function putOff(message: Sent, attempt: number): void {
    const { cluster, node, session, name } = message;
    counters.foreignMessages += 1;
    const isCurrent = reach.contact(cluster, node).session === session;
    if (name === 'hello' && isCurrent && attempt < helloRetriesMax) {
      clock.after(helloRetryMs, () => push(cluster, [message], attempt + 1));
    }
  }

  function push(cluster: string, messages: readonly Sent[], attempt: number): void {
    const isTaken = mailbox.push(cluster, async () => {
      let isDone = false;
      try {
        isDone = await handle(context, cluster, messages);
      } catch (error) {
        if (!isPassing(error)) throw error;
        log.debug({ cluster, err: error, count: messages.length }, 'messages not taken');
      }
      if (isDone) return;
      for (const message of messages) putOff(message, attempt);
    });
    if (!isTaken) counters.droppedMessages += messages.length;
  }

  function release(cluster: string): void {
    const hellos = gathered.get(cluster);
    gathered.delete(cluster);
    if (hellos) push(cluster, hellos, 0);
  }

  return {
    take(message) {
      const { cluster } = message;
      if (message.name !== 'hello') {
        // What a node says after its hello is not heard before it.
        release(cluster);
        return push(cluster, [message], 0);
      }
      const waiting = gathered.get(cluster);
      if (waiting) return void waiting.push(message);
      gathered.set(cluster, [message]);
      clock.after(gatherMs, () => release(cluster));
    },
    close() {
      gathered.clear();
      return mailbox.close();
    },
  };
}
