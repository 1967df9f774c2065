import { expect, it } from 'vitest';
import { reduceTrace, type TraceEvent } from './trace.ts';

const at = (name: string, ms: number, forMs?: number, tid = 1): TraceEvent => ({
  name,
  ph: forMs === undefined ? 'I' : 'X',
  pid: 7,
  tid,
  ts: ms * 1_000,
  ...(forMs !== undefined && { dur: forMs * 1_000, tdur: forMs * 500 }),
});
const batch = (ms: number): TraceEvent => at('WebSocketReceive', ms);

it('charges what the main thread does to the batch before it, and nothing twice', () => {
  const { updates } = reduceTrace([
    at('FunctionCall', 5, 90),
    batch(100),
    // A frame with a callback that measures: 4 ms of layout inside 10 ms of script.
    at('FireAnimationFrame', 110, 10),
    at('FunctionCall', 111, 8),
    at('Layout', 112, 4),
    at('Paint', 130, 3),
    at('FunctionCall', 140, 500, 2),
    batch(1_100),
    at('FunctionCall', 1_101, 2),
    batch(2_100),
    at('FunctionCall', 2_101, 700),
  ]);
  expect(updates).toEqual([
    { scriptingMs: 6, renderingMs: 7, cpuMs: 6.5, taskMs: 0 },
    { scriptingMs: 2, renderingMs: 0, cpuMs: 1, taskMs: 0 },
  ]);
});

it('takes a decision that comes between two batches for a part of the first', () => {
  const events = [batch(0), batch(300), at('FunctionCall', 301, 5), batch(1_000)];
  expect(reduceTrace(events).updates).toMatchObject([{ scriptingMs: 5 }]);
});

it('names the tasks that hold up whoever types, with what they had of a processor', () => {
  const tasks = [at('RunTask', 1, 50), at('RunTask', 60, 120), at('RunTask', 60, 900, 2)];
  expect(reduceTrace([batch(0), ...tasks, batch(1_000)])).toMatchObject({
    updates: [{ taskMs: 170 }],
    longTasks: [{ ms: 120, cpuMs: 60 }],
  });
});

it('says nothing of a page that got no batch', () => {
  expect(reduceTrace([at('FunctionCall', 1, 2)])).toEqual({ updates: [], longTasks: [] });
});
