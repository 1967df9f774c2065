/**
 * Takes messages at once and works on them later: in order within a cluster, side by side across
 * clusters, bounded in length. A message that finds its queue full is dropped and counted; the
 * protocol repeats everything that matters.
 */
type Work = () => Promise<void>;

export type Mailbox = {
  /** False when it was dropped. */
  push(cluster: string, work: Work): boolean;
  waiting(): number;
  /** Refuses everything from now on and resolves when what is running has ended. */
  close(): Promise<void>;
};

export type MailboxOptions = { perClusterMax: number; totalMax: number };

export function createMailbox({ perClusterMax, totalMax }: MailboxOptions): Mailbox {
  const queues = new Map<string, Work[]>();
  const running = new Set<Promise<void>>();
  let total = 0;
  let isClosed = false;

  async function drain(cluster: string, queue: Work[]): Promise<void> {
    for (let work = queue.shift(); work; work = queue.shift()) {
      total -= 1;
      if (!isClosed) await work();
    }
    queues.delete(cluster);
  }

  return {
    push(cluster, work) {
      if (isClosed) return false;
      const queue = queues.get(cluster);
      if (total >= totalMax || (queue?.length ?? 0) >= perClusterMax) return false;
      total += 1;
      if (queue) {
        queue.push(work);
        return true;
      }
      const own = [work];
      queues.set(cluster, own);
      const run = drain(cluster, own);
      running.add(run);
      void run.finally(() => running.delete(run));
      return true;
    },
    waiting: () => total,
    async close() {
      isClosed = true;
      await Promise.all(running);
    },
  };
}
