/** What a replayed policy may look at, in whichever world it runs. It sees no later sample. */
import type { Hosts } from './specs.ts';
import type { Trace } from './trace.ts';

export type Move = { guest: number; to: number };

export type ReplayWorld = {
  readonly trace: Trace;
  readonly hosts: Hosts;
  /** Guests of each host; in CloudSim's world those on their way to it too. */
  readonly guestsOf: readonly (readonly number[])[];
  /** MIPS that each guest wants now. */
  readonly demand: Float64Array;
  /** MIPS in use on each host. */
  readonly usedMips: Float64Array;
  readonly seconds: number;
  /** MB that each guest takes on a host now; null where hosts hold any amount. */
  readonly ramNeeded: Float64Array | null;
  utilisation(host: number): number;
  /** Whether the guests' own memory of their load takes this moment in. */
  isRemembered(): boolean;
};
