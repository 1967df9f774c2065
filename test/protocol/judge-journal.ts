/**
 * I9: what a daemon knows after a crash at any byte is a prefix of what its disk has acknowledged,
 * and what it says was durable before. Judged by a second reader of the bytes.
 */
import type { FromExecutor, Introduction } from '../../daemon/command/executor-port.ts';
import type { Court } from './court.ts';
import { emptyView, type Kept, readOn, type View, viewOf } from './journal-view.ts';
import type { SimNode } from './node.ts';

export type JournalJudge = {
  onSay(node: SimNode, message: FromExecutor): void;
  onIntroduction(
    node: SimNode,
    before: { promised: Buffer; found: Buffer },
    said: Introduction,
  ): void;
  onJournalLost(node: SimNode): void;
  keptOf(node: SimNode, commandId: string): Kept | undefined;
};

const openMax = 64;
const next: Record<Kept['phase'], Kept['phase'] | null> = {
  received: 'refused',
  started: 'finished',
  finished: null,
  refused: null,
};

export function createJournalJudge(court: Court): JournalJudge {
  const views = new Map<SimNode, View>();
  const durable = (node: SimNode): View => {
    const view = views.get(node) ?? emptyView();
    views.set(node, view);
    return readOn(view, node.disk.durable('journal'));
  };

  /** Nothing that was acknowledged is missing, nothing that was never written is there. */
  function judgeBytes(node: SimNode, promised: Buffer, found: View, after: Buffer): void {
    const name = `${node.cluster}/${node.name}`;
    if (!after.subarray(0, promised.length).equals(promised)) {
      court.accuse('I9', `${name} lost what its disk had acknowledged`);
    }
    const kept = viewOf(after);
    if (kept.bytes !== after.length) court.accuse('I9', `${name} goes on behind a torn record`);
    found.frames.forEach((frame, at) => {
      if (kept.frames[at] !== frame) court.accuse('I9', `${name} changed record ${at}`);
    });
  }

  /** What it says of itself is what those bytes say. */
  function judgeWords(node: SimNode, found: View, after: View, said: Introduction): void {
    const name = `${node.cluster}/${node.name}`;
    const wrong = (what: string): void => court.accuse('I9', `${name} ${what}`);
    if (said.journalId !== after.journalId) wrong('names another journal');
    if (said.maxEpoch !== after.maxEpoch)
      wrong(`says epoch ${said.maxEpoch}, kept ${after.maxEpoch}`);
    if (said.incarnation <= found.incarnation) wrong(`counts start ${said.incarnation} again`);
    const spoken = new Map(said.openCommands.map((one) => [one.commandId, one.phase]));
    for (const [id, phase] of spoken) {
      const kept = after.commands.get(id)?.phase;
      // What it took up again may have gone on while we looked.
      if (kept !== phase && kept !== next[phase]) wrong(`says ${phase} of ${id}, kept ${kept}`);
    }
    for (const [id, { phase }] of after.commands) {
      const isMissing = phase === 'started' && !spoken.has(id) && spoken.size < openMax;
      if (isMissing) wrong(`forgot the start of ${id}`);
    }
  }

  return {
    onIntroduction(node, { promised, found }, said) {
      views.delete(node);
      const after = node.disk.content('journal') ?? Buffer.alloc(0);
      const before = viewOf(found);
      judgeBytes(node, promised, before, after);
      judgeWords(node, before, viewOf(after), said);
    },
    onJournalLost: (node) => void views.delete(node),
    onSay(node, message) {
      if (message.name === 'goodbye' || message.name === 'changed') return;
      const { body } = message;
      const view = durable(node);
      const kept = view.commands.get(body.commandId);
      const said = message.name === 'claim' ? 'claim' : message.body.step;
      const phases: Record<string, Kept['phase'][]> = {
        claim: ['received'],
        accepted: ['received', 'started', 'finished', 'refused'],
        started: ['started', 'finished'],
        heartbeat: ['started', 'finished'],
        finished: ['finished'],
        refused: ['refused'],
      };
      const allowed = phases[said];
      if (allowed && !(kept && allowed.includes(kept.phase))) {
        court.accuse(
          'I9',
          `${node.name} says ${said} of ${body.commandId}, its disk ${kept?.phase}`,
        );
      }
      if (message.name === 'claim' && message.body.maxEpoch > view.maxEpoch) {
        court.accuse(
          'I9',
          `${node.name} claims epoch ${message.body.maxEpoch}, its disk ${view.maxEpoch}`,
        );
      }
    },
    keptOf: (node, commandId) => durable(node).commands.get(commandId),
  };
}
