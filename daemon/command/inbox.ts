/**
 * What the agent delivers, sorted: signed words are checked before anything looks inside, hints
 * are bounded, and each goes to the command it speaks of. Invariant: only signed words raise the
 * highest epoch; an offer is unsigned, and a forged one could lock the real server out for ever.
 */
import type { Offer, Probe } from '../../broker/contract/command.ts';
import { openCommandsMax } from '../../broker/contract/limits.ts';
import type { Log } from '../../broker/contract/ports.ts';
import type { ServerKey, Signed, SyncContent } from '../../broker/contract/server.ts';
import type { Hypervisor, Observation } from '../hypervisor/port.ts';
import type { Actors } from './actors.ts';
import type { CheckedSync, ToExecutor } from './executor-port.ts';
import type { Hold } from './hold.ts';
import type { Journal } from './journal.ts';
import type { WakeTableStore } from './wake-table.ts';
import { checkGrant, checkServer, checkSync } from './signature.ts';

export type InboxDeps = {
  cluster: string;
  hypervisor: Hypervisor;
  serverKeys: () => readonly ServerKey[];
  log: Log;
  hold: Hold;
  journal: Journal;
  actors: Actors;
  /** node -> commands from before its session: only these can be missing from its sync. */
  earlier: ReadonlyMap<string, ReadonlySet<string>>;
  table: WakeTableStore;
};

/** Ids are kept for 7 days; more than this many in that time is not a fleet but an attack. */
const rememberedMax = 100_000;
/** Commands a node may have in memory at once, its witness answers included. */
const livingMax = 1_024;

type ToNode = Exclude<ToExecutor, { name: 'server' }>;

export class Inbox {
  readonly #deps: InboxDeps;

  constructor(deps: InboxDeps) {
    this.#deps = deps;
  }

  async take(message: ToExecutor): Promise<CheckedSync | undefined> {
    if (message.name === 'server') {
      this.#onServer(message.body);
      return undefined;
    }
    const { name, node } = message;
    if (!this.#deps.hypervisor.nodes().includes(node)) {
      return this.#drop('message for a foreign node', { node, name });
    }
    if (message.name === 'sync') return this.#onSync(node, message.session, message.body);
    await this.#onCommand(message);
    return undefined;
  }

  async #onCommand(message: Exclude<ToNode, { name: 'sync' }>): Promise<void> {
    const { node } = message;
    switch (message.name) {
      case 'offer':
        return this.#onOffer(node, message.body);
      case 'grant':
        return this.#onGrant(node, message.body);
      case 'probe':
        return this.#onProbe(node, message.body, message.reach);
      case 'verdict':
      default: {
        const { body } = message;
        return this.#deps.actors.post(node, body.commandId, { type: 'verdict', verdict: body });
      }
    }
  }

  #drop(what: string, fields: object): undefined {
    this.#deps.log.warn(fields, `${what} dropped`);
  }

  async #raiseEpoch(epoch: number): Promise<void> {
    const { journal } = this.#deps;
    if (epoch <= journal.state.maxEpoch) return;
    // After a failed journal nothing starts any more, so there is nothing an epoch could bar.
    await journal.append([{ type: 'epoch', epoch }]).catch(() => undefined);
  }

  #isOld(epoch: number): boolean {
    return epoch < this.#deps.journal.state.maxEpoch;
  }

  /** An id is one node's for ever; the same one elsewhere would be a second start. */
  #isElsewhere(node: string, commandId: string): boolean {
    return (this.#deps.journal.state.commands.get(commandId)?.node ?? node) !== node;
  }

  /** Unsigned words may make the journal and memory grow only so far. */
  #isFull(node: string): boolean {
    const { journal, actors } = this.#deps;
    return journal.state.commands.size >= rememberedMax || actors.of(node).length >= livingMax;
  }

  async #onOffer(node: string, offer: Offer): Promise<void> {
    const { actors } = this.#deps;
    const { commandId, epoch } = offer;
    if (this.#isOld(epoch)) return this.#drop('offer of an old epoch', { commandId, node, epoch });
    if (!actors.isKnown(node, commandId)) {
      if (actors.unstarted(node) >= openCommandsMax || this.#isFull(node)) {
        return this.#drop('offer beyond the bound', { commandId, node });
      }
    }
    if (this.#isElsewhere(node, commandId)) {
      return this.#drop('offer of a foreign id', { commandId, node });
    }
    return actors.post(node, commandId, { type: 'offered', offer });
  }

  async #onGrant(node: string, body: Signed): Promise<void> {
    const { cluster, serverKeys, actors } = this.#deps;
    const checked = checkGrant(serverKeys(), body, { cluster, node });
    if (!checked.ok) return this.#drop('grant', { node, reason: checked.reason });
    const grant = checked.content;
    const { commandId, epoch } = grant;
    if (this.#isOld(epoch)) return this.#drop('grant of an old epoch', { commandId, node, epoch });
    await this.#raiseEpoch(epoch);
    return actors.post(node, commandId, { type: 'granted', grant });
  }

  async #onProbe(node: string, probe: Probe, reach?: Observation): Promise<void> {
    const { commandId, role } = probe;
    if (role === 'executor' && this.#isElsewhere(node, commandId)) {
      return this.#drop('probe of a foreign id', { commandId, node });
    }
    if (this.#isFull(node) && !this.#deps.actors.isKnown(node, commandId)) {
      return this.#drop('probe beyond the bound', { commandId, node });
    }
    return this.#deps.actors.post(node, commandId, {
      type: 'probed',
      probe,
      ...(reach && { reach }),
    });
  }

  async #onSync(node: string, session: string, body: Signed): Promise<CheckedSync | undefined> {
    const { cluster, serverKeys, hold } = this.#deps;
    const sync = checkSync(serverKeys(), body, { cluster, node, session });
    if (!sync.ok) return this.#drop('sync', { node, reason: sync.reason });
    const { epoch, storedIncarnation, storedSeq, intervalMs } = sync.content;
    if (this.#isOld(epoch)) return this.#drop('sync of an old epoch', { node, epoch });
    await this.#raiseEpoch(epoch);
    hold.onSync(sync.content.hold);
    await this.#keepTable(node, body, sync.content);
    await this.#compare(node, sync.content);
    return { storedIncarnation, storedSeq, intervalMs };
  }

  async #keepTable(node: string, body: Signed, content: SyncContent): Promise<void> {
    await this.#deps.table.keep(node, body, content).catch((error: unknown) => {
      this.#deps.log.error({ err: error }, 'the wake table could not be kept on disk');
    });
  }

  async #compare(node: string, { commands }: SyncContent): Promise<void> {
    const { actors, earlier } = this.#deps;
    const listed = new Set(commands.map(({ commandId }) => commandId));
    const posts = commands
      .filter(({ commandId }) => !this.#isElsewhere(node, commandId))
      .map(({ commandId, state }) => actors.post(node, commandId, { type: 'synced', state }));
    // A full list may have left some out, so only a shorter one proves absence.
    const isWhole = commands.length < openCommandsMax;
    for (const commandId of isWhole ? (earlier.get(node) ?? []) : []) {
      if (listed.has(commandId)) continue;
      posts.push(actors.post(node, commandId, { type: 'synced', state: 'absent' }));
    }
    await Promise.all(posts);
  }

  #onServer(body: Signed): void {
    const { serverKeys, hold } = this.#deps;
    const server = checkServer(serverKeys(), body);
    if (server.ok) hold.onServer(server.content);
    else this.#drop('server description', { reason: server.reason });
  }
}
