/**
 * The thread a backtest runs in, so that the server goes on answering. It is handed the setup,
 * then one reel at a time; it answers each, and the outcome when told that none follows.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { Outcome, Source } from './outcome.ts';
import type { Reel } from './reel.ts';
import { Replay, type Setup } from './replay.ts';

export type Order = { kind: 'play'; reel: Reel; source: Source } | { kind: 'end' };
export type Answer = { kind: 'played' } | { kind: 'done'; outcome: Outcome };

const replay = new Replay(workerData as Setup);
const port = parentPort;
if (port === null) throw new Error('runs as a worker only');

port.on('message', (order: Order) => {
  if (order.kind === 'play') replay.play(order.reel, order.source);
  const answer: Answer =
    order.kind === 'play' ? { kind: 'played' } : { kind: 'done', outcome: replay.outcome() };
  port.postMessage(answer);
});
