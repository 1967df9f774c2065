/** A wire that loses, repeats, delays and so reorders by seed; one message in a hundred is late by
 * up to 90 s. It never invents and never changes a message. */
import type { Clock, Random } from '../../broker/contract/ports.ts';

export type Network = {
  carry(end: string, deliver: () => void): void;
  cut(end: string, isCut: boolean): void;
  heal(): void;
  counts: { lost: number; duplicates: number; delivered: number };
};

export function createNetwork(clock: Clock, random: Random): Network {
  const counts = { lost: 0, duplicates: 0, delivered: 0 };
  const cuts = new Set<string>();
  let loss = random.ratio() * 0.3;
  let duplicate = random.ratio() * 0.5;
  let delayMs = random.ratio() * 5_000;
  let late = 0.01;
  const delay = (): number =>
    random.ratio() < late ? random.ratio() * 90_000 : random.ratio() * delayMs;
  return {
    counts,
    carry(end, deliver) {
      if (cuts.has(end) || random.ratio() < loss) {
        counts.lost += 1;
        return;
      }
      const isTwice = random.ratio() < duplicate;
      if (isTwice) counts.duplicates += 1;
      for (let copy = 0; copy < (isTwice ? 2 : 1); copy += 1) {
        clock.after(delay(), () => {
          counts.delivered += 1;
          deliver();
        });
      }
    },
    cut: (end, isCut) => void (isCut ? cuts.add(end) : cuts.delete(end)),
    heal() {
      cuts.clear();
      loss = 0;
      duplicate = 0;
      delayMs = 20;
      late = 0;
    },
  };
}
