/**
 * What the panel knows of the fleet, kept by one WebSocket: a signal for every node, so that a
 * sample of one redraws one card and never the page. Invariant: `nodes` holds the last word of
 * every node in scope; `isLive` says whether that word can still change.
 *
 *   closed -- token --> opening -- subscribed --> live -- lost --> waiting (1..30 s) --> opening
 */
import { type Signal, signal } from '@preact/signals';
import type { NodeView } from '../../http/views.ts';
import { apiUrl, token } from './api.ts';

export const sparkLength = 60;
/** Cpu ratios of the last samples, oldest first; NaN where nothing was measured. */
export type Spark = Float32Array;

export type CommandNews = {
  id: string;
  cluster: string;
  kind: string;
  state: string;
  at: string;
  reason: string | null;
};
export type DecisionNews = { id: string; cluster: string; at: string; summary: string };

export const nodes = new Map<string, Signal<NodeView>>();
export const sparks = new Map<string, Spark>();
/** Sorted keys `cluster/node`; a new array when a node came or went. */
export const nodeKeys = signal<readonly string[]>([]);
/** Counts the batches; whoever sums over the fleet reads it. */
export const beat = signal(0);
export const isLive = signal(false);
export const lastCommand = signal<CommandNews | null>(null);
export const lastDecision = signal<DecisionNews | null>(null);

export const keyOf = (node: { cluster: string; id: string }): string =>
  `${node.cluster}/${node.id}`;

function push(key: string, ratio: number | null): void {
  let spark = sparks.get(key);
  if (spark === undefined) {
    spark = new Float32Array(sparkLength).fill(Number.NaN);
    sparks.set(key, spark);
  }
  spark.copyWithin(0, 1);
  spark[sparkLength - 1] = ratio ?? Number.NaN;
}

function takeNodes(views: readonly NodeView[]): void {
  let isNew = false;
  for (const view of views) {
    const key = keyOf(view);
    push(key, view.state === 'awake' ? view.cpuRatio : null);
    const known = nodes.get(key);
    if (known) known.value = view;
    else {
      nodes.set(key, signal(view));
      isNew = true;
    }
  }
  const isFirst = nodeKeys.peek().length === 0;
  if (isNew) nodeKeys.value = [...nodes.keys()].sort();
  if (isNew && isFirst) whenFirstSeen();
  beat.value += 1;
}

type Message =
  | { topic: 'subscribed' }
  | { topic: 'error'; detail: string }
  | { topic: 'telemetry'; nodes: NodeView[] }
  | ({ topic: 'commands' } & CommandNews)
  | ({ topic: 'decisions' } & DecisionNews);

function take(message: Message): void {
  switch (message.topic) {
    case 'subscribed':
      isLive.value = true;
      break;
    case 'telemetry':
      takeNodes(message.nodes);
      break;
    case 'commands':
      lastCommand.value = message;
      break;
    case 'decisions':
      lastDecision.value = message;
      break;
    case 'error':
      throw new Error(`the stream refused our own message: ${message.detail}`);
    default:
      message satisfies never;
  }
}

const waitMinMs = 1_000;
const waitMaxMs = 30_000;

let whenFirstSeen = (): void => undefined;

/**
 * Keeps the stream open while somebody is signed in; returns how to end it. `onFirst` is called
 * when the first nodes are known.
 */
export function watchFleet(onFirst: () => void): () => void {
  whenFirstSeen = onFirst;
  let waitMs = waitMinMs;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let socket: WebSocket | undefined;
  let isEnded = false;

  const open = (): void => {
    const url = apiUrl('stream');
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    socket = new WebSocket(url);
    socket.addEventListener('open', () => {
      socket?.send(
        JSON.stringify({
          token: token.value ?? undefined,
          topics: ['telemetry', 'decisions', 'commands'],
        }),
      );
    });
    socket.addEventListener('message', ({ data }) => {
      waitMs = waitMinMs;
      take(JSON.parse(String(data)) as Message);
    });
    socket.addEventListener('close', () => {
      isLive.value = false;
      if (isEnded) return;
      timer = setTimeout(open, waitMs);
      waitMs = Math.min(waitMaxMs, waitMs * 2);
    });
  };
  open();
  return () => {
    isEnded = true;
    clearTimeout(timer);
    socket?.close();
    nodes.clear();
    sparks.clear();
    nodeKeys.value = [];
  };
}
