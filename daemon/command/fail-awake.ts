/**
 * Without a server nobody may act, but a house that sleeps would sleep for ever: when the server has
 * been gone for as long as the signed wake table says, the nodes in it are woken, one after the
 * other, once, each by the usual bursts. Invariant: nothing else is ever begun here, and whatever forbids a wake by command
 * (HOLD, local policy, observe-only, no waker) forbids this one.
 */
import type { Cancel } from '../../broker/contract/ports.ts';
import type { SyncContent, WakeTable } from '../../broker/contract/server.ts';
import { wakersFor } from '../waker/port.ts';
import type { EffectDeps } from './effects.ts';
import { judge, type Wanted } from './guards.ts';
import { gatherFacts } from './local-facts.ts';
import { firstBurst, laterBursts, type Series } from './wake-series.ts';
import type { WakeTableStore } from './wake-table.ts';
import { isMember } from './work.ts';
import { limited, wait } from './work-steps.ts';

export type FailAwakeDeps = EffectDeps & {
  store: WakeTableStore;
  /** What the server held at last, as far as this process has heard. */
  isHeldByServer: () => boolean;
};

export type FailAwake = {
  /** Whether the server can be reached from here. */
  server(isHere: boolean): void;
  close(): void;
};

type Entry = WakeTable['entries'][number];

/** They draw the most when they start (SAFETY W5). */
const betweenMs = 10_000;
const wakeMaxMs = 60_000;

const wantedOf = ({ node, macs, broadcasts }: Entry): Wanted => ({
  commandId: '',
  kind: 'node.wake',
  target: { kind: 'node', id: node },
  args: { macs, broadcasts },
  epoch: 0,
});

/** `over` ends this outage: what waits for its next burst lets it be. */
type State = { isHere: boolean; isClosed: boolean; over: AbortController };
type Bench = FailAwakeDeps & { readonly state: State };

/** Why it may not be woken, and the boot in which that was asked. */
async function look(bench: Bench, entry: Entry, content: SyncContent) {
  const { hypervisor, wakers, observeOnly, isHeldByServer } = bench;
  const wanted = wantedOf(entry);
  const [node = content.node] = hypervisor.nodes();
  const facts = await gatherFacts(bench, node, wanted);
  const denial = judge({
    ...facts,
    node,
    wanted,
    grant: null,
    maxEpoch: 0,
    isHeldByServer: isHeldByServer() || content.hold,
    isObserveOnly: observeOnly,
    wakers: wakersFor(wakers, entry.node).length,
    isTargetBusy: false,
    quarantined: null,
    hasReserve: true,
  });
  const isForeign = facts.driver?.simulated !== content.simulated;
  const why = denial?.reason ?? (isForeign ? 'the table is of another kind of cluster' : null);
  return { why, bootId: facts.bootId };
}

/** Those that are members of the running cluster need no packet. */
async function membersOnline(bench: Bench, { node }: SyncContent): Promise<readonly string[]> {
  const sample = await bench.hypervisor.sample(node).catch(() => null);
  return sample?.membersOnline ?? [];
}

async function send(bench: Bench, entry: Entry, content: SyncContent): Promise<boolean> {
  const { node, macs, broadcasts } = entry;
  const { over } = bench.state;
  const own: Omit<Series, 'signal'> = {
    wakers: wakersFor(bench.wakers, node),
    request: { node, macs, broadcasts },
    timeScale: 1,
    heldBy: async () => (await look(bench, entry, content)).why,
    isAwake: () => isMember(bench, content.node, node),
  };
  let rest = async (): Promise<void> => undefined;
  const { exitCode, detail } = await limited(bench, wakeMaxMs, async (limit) => {
    const signal = AbortSignal.any([limit, over.signal]);
    const { performed, waker } = await firstBurst({ ...own, signal });
    rest = async () => void (await laterBursts(bench, { ...own, signal: over.signal }, waker));
    return performed;
  });
  bench.log.warn({ node, detail }, 'the server is gone: a node that may sleep is woken');
  void rest().catch((error: unknown) => {
    bench.log.error({ node, err: error }, 'the node could not be woken again');
  });
  return exitCode === 0;
}

/** True when it was sent now. */
async function wakeOne(bench: Bench, entry: Entry, content: SyncContent): Promise<boolean> {
  const { store, state, log } = bench;
  const { why, bootId } = await look(bench, entry, content);
  if (why !== null) {
    log.warn({ node: entry.node, why }, 'the server is gone, and this node may not be woken');
    return false;
  }
  if (state.isHere || state.isClosed || store.hasWoken(entry.node, bootId)) return false;
  await store.note(entry.node, bootId, true);
  if (await send(bench, entry, content)) return true;
  await store.note(entry.node, bootId, false);
  return false;
}

async function wakeAll(bench: Bench): Promise<void> {
  const { store, state, hypervisor, clock } = bench;
  const kept = store.current();
  if (!kept) return;
  const { content, table } = kept;
  const members = await membersOnline(bench, content);
  const own = hypervisor.nodes();
  for (const entry of table.entries) {
    if (state.isHere || state.isClosed) return;
    if (own.includes(entry.node) || members.includes(entry.node)) continue;
    if (await wakeOne(bench, entry, content)) await wait(clock, betweenMs);
  }
}

export function createFailAwake(deps: FailAwakeDeps): FailAwake {
  const state: State = { isHere: false, isClosed: false, over: new AbortController() };
  const bench: Bench = { ...deps, state };
  const { store, clock, log } = deps;
  let cancel: Cancel | null = null;
  let turn: Promise<void> = Promise.resolve();

  function arm(): void {
    cancel?.();
    cancel = null;
    const afterMs = store.current()?.table.wakeAfterMs ?? null;
    if (state.isHere || state.isClosed || afterMs === null) return;
    cancel = clock.after(afterMs, () => {
      // What was forbidden or failed is tried again as much later; what was woken is not.
      const next = turn.then(() => wakeAll(bench));
      turn = next.catch((error: unknown) => {
        log.error({ err: error }, 'the nodes that sleep could not be woken');
      });
      void turn.then(arm);
    });
  }
  arm();
  return {
    server(isThere) {
      if (isThere === state.isHere) return;
      state.isHere = isThere;
      if (isThere) state.over.abort();
      else state.over = new AbortController();
      arm();
    },
    close() {
      state.isClosed = true;
      state.over.abort();
      cancel?.();
    },
  };
}
