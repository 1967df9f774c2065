/**
 * Whom this server has asked what it sees of a command, lately: a witness's word counts only as the
 * answer to such a question, so that no daemon can testify to what nobody asked it. In memory: a
 * restart forgets, and asks again.
 */
import type { Clock } from '../../broker/contract/ports.ts';

/** Twice the longest pause between probes, and the time of an answer. */
const answerWithinMs = 180_000;
/** Two witnesses of every power-off that a fleet may have under way, many times over. */
const askedMax = 8_192;

export type Asked = {
  note(commandId: string, node: string): void;
  /** Whether this node's word on this command answers a question of ours. */
  has(commandId: string, node: string): boolean;
};

export function createAsked(clock: Clock): Asked {
  /** In the order of asking. */
  const askedAtMs = new Map<string, number>();
  const keyOf = (commandId: string, node: string): string => `${commandId} ${node}`;
  return {
    note(commandId, node) {
      const key = keyOf(commandId, node);
      askedAtMs.delete(key);
      askedAtMs.set(key, clock.monotonicMs());
      const [oldest] = askedAtMs.keys();
      if (askedAtMs.size > askedMax && oldest !== undefined) askedAtMs.delete(oldest);
    },
    has(commandId, node) {
      const atMs = askedAtMs.get(keyOf(commandId, node));
      return atMs !== undefined && clock.monotonicMs() - atMs <= answerWithinMs;
    },
  };
}
