/**
 * Were the commands told the truth? Compares what the server says of each command with the
 * world's own log, which nobody but the world writes. SUCCEEDED means begun exactly once; what was
 * REJECTED, CANCELLED or EXPIRED never began; nothing ever began twice.
 */
import { type CommandState, isTerminal } from '../broker/contract/command.ts';
import type { EffectRecord } from './world/model.ts';

export type Told = { id: string; kind: string; state: CommandState };

export type Truth = {
  /** Sentences, one for each command whose effects contradict its state. */
  violations: string[];
  notTerminal: number;
  indeterminate: number;
};

const neverBegan: ReadonlySet<CommandState> = new Set(['REJECTED', 'CANCELLED', 'EXPIRED']);

function contradiction(command: Told, starts: number): string | undefined {
  const { id, kind, state } = command;
  const sentence = `${kind} ${id} is ${state} and began ${starts} times in the world`;
  if (starts > 1) return sentence;
  if (state === 'SUCCEEDED' && starts !== 1) return sentence;
  return neverBegan.has(state) && starts !== 0 ? sentence : undefined;
}

export function compare(commands: readonly Told[], log: readonly EffectRecord[]): Truth {
  const starts = new Map<string, number>();
  for (const { commandId, effect } of log) {
    if (commandId === null || effect !== 'start') continue;
    starts.set(commandId, (starts.get(commandId) ?? 0) + 1);
  }
  return {
    violations: commands.flatMap(
      (command) => contradiction(command, starts.get(command.id) ?? 0) ?? [],
    ),
    notTerminal: commands.filter(({ state }) => !isTerminal(state)).length,
    indeterminate: commands.filter(({ state }) => state === 'INDETERMINATE').length,
  };
}
