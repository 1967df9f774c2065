/**
 * Faults of a network and of daemons, drawn by the second: connections that break, that stay open
 * while nothing passes, and daemons that read nothing. What a message suffers stands in the line.
 */
import type { Random } from '../../broker/contract/ports.ts';
import type { Fleet } from '../fleet.ts';
import type { Place } from '../scenarios/scenario.ts';
import type { Faults } from './profile.ts';

/** How often each happened. */
export type FaultCounts = { droppedLinks: number; halfOpen: number; slowReaders: number };

export type FaultPlayer = {
  /** Once in every whole second since the start. */
  second(second: number): void;
  /** Nothing is held back any more. */
  stop(): void;
  counts(): Readonly<FaultCounts>;
};

const lasting = [
  ['halfOpen', 'both'],
  ['slowReaders', 'reads'],
] as const;

const isDue = (second: number, everyMs: number): boolean =>
  second > 0 && (second * 1_000) % everyMs < 1_000;

export function playFaults(faults: Faults, fleet: Fleet, random: Random): FaultPlayer {
  const counts: FaultCounts = { droppedLinks: 0, halfOpen: 0, slowReaders: 0 };
  let held: { places: readonly Place[]; endSecond: number }[] = [];

  const draw = (ratio: number): Place[] => fleet.online().filter(() => random.ratio() < ratio);

  return {
    second(second) {
      for (const { places, endSecond } of held) if (endSecond <= second) fleet.unstall(places);
      held = held.filter(({ endSecond }) => endSecond > second);
      const { droppedLinks } = faults;
      if (droppedLinks && isDue(second, droppedLinks.every)) {
        const places = draw(droppedLinks.ratio);
        counts.droppedLinks += places.length;
        fleet.drop(places);
      }
      for (const [name, what] of lasting) {
        const fault = faults[name];
        if (!fault || !isDue(second, fault.every)) continue;
        const places = draw(fault.ratio);
        counts[name] += places.length;
        fleet.stall(places, what);
        held.push({ places, endSecond: second + Math.max(1, Math.ceil(fault.for / 1_000)) });
      }
    },
    stop() {
      for (const { places } of held) fleet.unstall(places);
      held = [];
    },
    counts: () => counts,
  };
}
