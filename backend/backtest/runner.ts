/** Starts the worker of a backtest and talks to it; alone knows that it is a thread. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Outcome, Source } from './outcome.ts';
import type { Reel } from './reel.ts';
import type { Setup } from './replay.ts';
import type { Answer, Order } from './worker.ts';

export type Player = {
  play(reel: Reel, source: Source): Promise<void>;
  end(): Promise<Outcome>;
  /** Ends the thread, whatever it does; what waits for an answer is rejected. */
  stop(): Promise<void>;
};

/** A month of a small house needs some tens of MB; a runaway must not take the server with it. */
const heapMb = 1_024;

export function startPlayer(setup: Setup): Player {
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData: setup,
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
  });
  // Who asks is told by the question's own rejection; nobody may be asking right now.
  worker.on('error', () => undefined);
  const ask = async (order: Order, transfer: ArrayBuffer[] = []): Promise<Answer> => {
    const ended = new AbortController();
    const gone = once(worker, 'exit', { signal: ended.signal }).then(() => {
      throw new Error('the backtest was ended');
    });
    try {
      const answered = once(worker, 'message', { signal: ended.signal });
      worker.postMessage(order, transfer);
      const [answer] = (await Promise.race([answered, gone])) as [Answer];
      return answer;
    } finally {
      gone.catch(() => undefined);
      ended.abort();
    }
  };
  return {
    async play(reel, source) {
      const columns = [reel.nodes, reel.guests].flatMap(({ values }) => Object.values(values));
      const buffers = [...columns, reel.guestNode].map(({ buffer }) => buffer as ArrayBuffer);
      await ask({ kind: 'play', reel, source }, buffers);
    },
    async end() {
      const answer = await ask({ kind: 'end' });
      if (answer.kind !== 'done') throw new Error(`the worker answered ${answer.kind}`);
      return answer.outcome;
    },
    async stop() {
      await worker.terminate();
    },
  };
}
