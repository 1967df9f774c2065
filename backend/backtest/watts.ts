/**
 * What a node draws by its load: a straight line from idle to full. Known from its facts, else
 * fitted to its own recorded watts, else assumed, and then said. Pure.
 */

export type Watts = { idle: number; loaded: number; source: 'facts' | 'measured' | 'assumed' };

/** Network card and board controller of a machine that is off. */
export const wattsAsleep = 3;
/** A core of the reference speed, busy; idle draws half of a full machine. As the engine assumes. */
const wattsPerUnit = 30;

export const assumedWatts = (units: number): Watts => ({
  idle: (wattsPerUnit * units) / 2,
  loaded: wattsPerUnit * units,
  source: 'assumed',
});

export const wattsAt = ({ idle, loaded }: Watts, cpuRatio: number): number =>
  idle + (loaded - idle) * Math.min(1, Math.max(0, cpuRatio));

/** Sums for a line through recorded pairs of load and watts. */
export class WattsFit {
  private count = 0;
  private loads = 0;
  private watts = 0;
  private squares = 0;
  private products = 0;

  add(cpuRatio: number, watts: number): void {
    if (Number.isNaN(cpuRatio) || Number.isNaN(watts)) return;
    this.count += 1;
    this.loads += cpuRatio;
    this.watts += watts;
    this.squares += cpuRatio * cpuRatio;
    this.products += cpuRatio * watts;
  }

  /** Least squares; with loads that hardly differ the line is flat through their mean. */
  line(): Watts | null {
    if (this.count === 0) return null;
    const meanLoad = this.loads / this.count;
    const meanWatts = this.watts / this.count;
    const spread = this.squares / this.count - meanLoad * meanLoad;
    const slope = spread < 1e-4 ? 0 : (this.products / this.count - meanLoad * meanWatts) / spread;
    const rise = Math.max(0, slope);
    const idle = Math.max(0, meanWatts - rise * meanLoad);
    return { idle, loaded: idle + rise, source: 'measured' };
  }
}
