/**
 * A hello: who the node is goes into its row, what its boot id proves goes into the commands on
 * it, and the signed sync tells it every open command it is to execute. Nothing is executed or
 * repeated because of a hello; what it should have received is offered or asked again.
 */
import { strict as assert } from 'node:assert';
import type { CommandState } from '../../broker/contract/command.ts';
import type { Message } from '../../broker/contract/messages.ts';
import { appendEntry } from '../audit/entry.ts';
import type { NodeKey } from '../store/command-store.ts';
import type { Commands, Nodes } from '../store/sql/schema.ts';
import { noteHello } from './hello.ts';
import { note, stateOf } from './ledger.ts';
import { activeStates, transitionOf } from './lifecycle.ts';
import { witnessed } from './reports.ts';
import type { Step } from './step.ts';
import { executedBy, readOpen, saySync } from './sync-content.ts';

type Hello = Message<'hello'>;

const provableStates: readonly CommandState[] = activeStates.filter(
  (state) => transitionOf(state, 'succeed') !== undefined,
);
const isActive = (state: CommandState): boolean => activeStates.includes(state);

async function auditLostJournal(step: Step, { node, body }: Hello, before: Nodes) {
  await appendEntry(step.rows, {
    chain: step.cluster.id,
    actor: `node:${node}`,
    action: 'node.journal-lost',
    subject: `node:${node}`,
    phase: 'done',
    detail: { before: before.journal_id, after: body.journalId },
    atMs: step.nowMs,
  });
}

async function readOrMake(step: Step, key: NodeKey): Promise<Nodes> {
  const known = await step.rows.node(key);
  if (known) return known;
  await step.rows.ensureNode(key, step.nowMs);
  const made = await step.rows.node(key);
  assert(made, `node ${key.id} has a row`);
  return made;
}

/** False for a hello that an older start of the daemon sent and that means nothing any more. */
async function introduce(step: Step, hello: Hello, hasActive: boolean): Promise<boolean> {
  const { node, body, cluster } = hello;
  const before = await readOrMake(step, { cluster, id: node });
  const { isNewBoot, isNewJournal, isCurrent } = await noteHello(step.rows, before, {
    hello: body,
    nowMs: step.nowMs,
  });
  if (isNewJournal && hasActive) await auditLostJournal(step, hello, before);
  // What a lost journal may have begun is none of our commands: there is nothing to look at.
  if (isNewJournal && !hasActive && before.journal_confirmed === 1) {
    await step.rows.updateNode(before, { journal_confirmed: 1 });
  }
  // It came up although it was wished asleep: someone switched it on.
  if (isNewBoot && before.desired === 'asleep') {
    await step.rows.updateNode(before, { desired: 'awake' });
  }
  return isCurrent;
}

/**
 * By its own word, in the very journal that claimed, it has not begun: then the boot ended for
 * another reason, and what the sync says makes it refuse.
 */
const isUnstarted = (row: Commands, { node, body }: Hello): boolean =>
  row.executor === node &&
  row.started_at_ms === null &&
  row.claim_journal_id === body.journalId &&
  !body.openCommands.some(
    ({ commandId, phase }) => commandId === row.id && (phase === 'started' || phase === 'finished'),
  );

const bootKinds: ReadonlySet<string> = new Set(['node.wake', 'node.shutdown', 'node.reboot']);

/**
 * Another boot id than at the grant: the old boot is over, so a power-off has happened, and a
 * new one has begun, so a wake has. Counts from the grant on: a lost report changes nothing.
 */
async function closeByBoot(step: Step, hello: Hello, row: Commands): Promise<Commands> {
  const { node, body } = hello;
  const isAboutNode = row.target_kind === 'node' && row.target_id === node;
  if (!isAboutNode || !bootKinds.has(row.kind) || !provableStates.includes(stateOf(row))) {
    return row;
  }
  if (body.bootId === null || row.target_boot_id === null) return row;
  if (row.target_boot_id === body.bootId) {
    // Whoever saw it gone was mistaken: here it is, in the boot it had.
    return row.witnesses === '[]' ? row : note(step, row, { witnesses: '[]' });
  }
  if (isUnstarted(row, hello)) return row;
  const detail = `node ${node} booted anew`;
  return witnessed(step, row, { kind: 'boot', by: node, atMs: step.nowMs, detail });
}

/** The commands it is to execute, after what this hello proves. */
async function reconcile(step: Step, hello: Hello, open: Commands[]): Promise<Commands[]> {
  if (open.length === 0) return [];
  const after: Commands[] = [];
  for (const row of open) after.push(await closeByBoot(step, hello, row));
  // What waits for this node is offered at once, not when its back-off ends, and what is
  // uncertain is asked about as soon as there is somebody to ask.
  const { rows, nowMs, cluster } = step;
  await rows.offerSoon({ cluster: cluster.id, id: hello.node }, nowMs);
  await rows.probeSoon([cluster.id], nowMs, hello.node);
  return executedBy(hello.node, after);
}

export async function onHello(step: Step, hello: Hello): Promise<void> {
  const { node, session } = hello;
  const open = await readOpen(step, node);
  const hasActive = open.some((row) => row.executor === node && isActive(stateOf(row)));
  if (!(await introduce(step, hello, hasActive))) return;
  const commands = await reconcile(step, hello, open);
  await saySync(step, { node, session }, commands);
}
