/**
 * What a browser's trace says of a page that follows a stream: the time its main thread spends on
 * scripting and rendering from one batch to the next, and its long tasks. Pure; the names are those
 * of Chromium's category devtools.timeline.
 */

/** One batch a second is sent; commands and decisions between two are charged to the first. */
const updateMinMs = 800;
export const longTaskMs = 50;

/** What the trace calls an event whose time is known; `dur` and `tdur` are microseconds. */
export type TraceEvent = {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  /** Of `dur`, what the thread was on a processor. */
  tdur?: number;
};

const scripting = new Set(
  (
    'EvaluateScript FunctionCall EventDispatch TimerFire FireAnimationFrame FireIdleCallback ' +
    'RunMicrotasks XHRReadyStateChange XHRLoad MinorGC MajorGC v8.compile v8.parseOnBackground'
  ).split(' '),
);
const rendering = new Set(
  (
    'UpdateLayoutTree Layout PrePaint Paint Layerize Commit UpdateLayer CompositeLayers HitTest ' +
    'ScrollLayer ParseHTML ParseAuthorStyleSheet DecodeImage'
  ).split(' '),
);

export type Cost = { scriptingMs: number; renderingMs: number; cpuMs: number; taskMs: number };
const noCost = (): Cost => ({ scriptingMs: 0, renderingMs: 0, cpuMs: 0, taskMs: 0 });

export type LongTask = { ms: number; cpuMs: number };
export type Reduced = { updates: Cost[]; longTasks: LongTask[] };

const endOf = ({ ts, dur = 0 }: TraceEvent): number => ts + dur;

/**
 * Sums the events of both kinds, each without those inside it, so that nothing counts twice.
 * @param events complete ones of one thread by time, the enclosing before the enclosed
 */
function charge(events: readonly TraceEvent[], costAt: (ts: number) => Cost | undefined): void {
  const open: TraceEvent[] = [];
  const add = (event: TraceEvent, own: TraceEvent, sign: 1 | -1): void => {
    const cost = costAt(own.ts);
    if (!cost) return;
    const ms = (sign * (own.dur ?? 0)) / 1_000;
    if (scripting.has(event.name)) cost.scriptingMs += ms;
    else cost.renderingMs += ms;
    cost.cpuMs += (sign * (own.tdur ?? own.dur ?? 0)) / 1_000;
  };
  for (const event of events) {
    while (open.length > 0 && endOf(open.at(-1) as TraceEvent) <= event.ts) open.pop();
    const outer = open.at(-1);
    if (outer) add(outer, event, -1);
    add(event, event, 1);
    open.push(event);
  }
}

/** The costs of every whole update in one window: the first and last are cut by its edges. */
export function reduceTrace(events: readonly TraceEvent[]): Reduced {
  const received = events.filter(({ name }) => name === 'WebSocketReceive');
  const [first] = received;
  if (!first) return { updates: [], longTasks: [] };
  const isMain = ({ pid, tid }: TraceEvent): boolean => pid === first.pid && tid === first.tid;
  const bounds: number[] = [];
  for (const { ts } of received.toSorted((a, b) => a.ts - b.ts)) {
    if (ts - (bounds.at(-1) ?? -Infinity) >= updateMinMs * 1_000) bounds.push(ts);
  }
  const updates = bounds.slice(1).map(noCost);
  const costAt = (ts: number): Cost | undefined => {
    const at = bounds.findLastIndex((bound) => bound <= ts);
    return updates[at];
  };
  const own = events
    .filter((event) => isMain(event) && event.ph === 'X')
    .toSorted((a, b) => a.ts - b.ts || (b.dur ?? 0) - (a.dur ?? 0));
  charge(
    own.filter(({ name }) => scripting.has(name) || rendering.has(name)),
    costAt,
  );
  const tasks = own.filter(({ name }) => name === 'RunTask');
  for (const task of tasks) {
    // The batch arrives within a task that began before it.
    const cost = costAt(endOf(task));
    if (cost) cost.taskMs += (task.dur ?? 0) / 1_000;
  }
  const longTasks = tasks
    .map(({ dur = 0, tdur = dur }) => ({ ms: dur / 1_000, cpuMs: tdur / 1_000 }))
    .filter(({ ms }) => ms > longTaskMs);
  return { updates, longTasks };
}
