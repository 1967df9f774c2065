/**
 * A wire that loses, repeats, delays and so reorders by seed; one message in a hundred is late by
 * up to 90 s. It never invents and never changes a message. Ends are cut and healed one by one.
 */
import type { Clock } from '../../broker/contract/ports.ts';
import type { Chance } from './chance.ts';

export type Network = {
  /** `ends` are whom the message passes; a cut one loses it. */
  carry(ends: readonly string[], deliver: () => void): void;
  /** As the broker says it: repeated and late perhaps, lost never. */
  tell(ends: readonly string[], deliver: () => void): void;
  cut(end: string): void;
  mend(end: string): void;
  isCut(end: string): boolean;
  heal(): void;
  counts: { lost: number; duplicates: number; late: number; delivered: number };
};

export function createNetwork(clock: Clock, chance: Chance): Network {
  const counts = { lost: 0, duplicates: 0, late: 0, delivered: 0 };
  const cuts = new Map<string, number>();
  let loss = chance.ratio() * 0.3;
  let duplicate = chance.ratio() * 0.5;
  // Most networks are quick; a few take seconds for everything.
  let delayMs = chance.is(0.8) ? chance.between(5, 400) : chance.between(400, 5_000);
  let late = 0.01;
  const delay = (): number => {
    if (!chance.is(late)) return chance.ratio() * delayMs;
    counts.late += 1;
    return chance.ratio() * 90_000;
  };
  const isCut = (end: string): boolean => (cuts.get(end) ?? 0) > 0;
  const send = (ends: readonly string[], deliver: () => void, mayLose: boolean): void => {
    const isTwice = chance.is(duplicate);
    if (isTwice) counts.duplicates += 1;
    for (let copy = 0; copy < (isTwice ? 2 : 1); copy += 1) {
      clock.after(delay(), () => {
        // A cut loses also what was on its way.
        if (mayLose && ends.some(isCut)) {
          counts.lost += 1;
          return undefined;
        }
        counts.delivered += 1;
        return deliver();
      });
    }
  };
  return {
    counts,
    carry(ends, deliver) {
      if (ends.some(isCut) || chance.is(loss)) {
        counts.lost += 1;
        return;
      }
      send(ends, deliver, true);
    },
    tell: (ends, deliver) => send(ends, deliver, false),
    cut: (end) => void cuts.set(end, (cuts.get(end) ?? 0) + 1),
    mend: (end) => void cuts.set(end, Math.max(0, (cuts.get(end) ?? 0) - 1)),
    isCut,
    heal() {
      cuts.clear();
      loss = 0;
      duplicate = 0;
      delayMs = 20;
      late = 0;
    },
  };
}
