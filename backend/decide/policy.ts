/**
 * What an administrator may set about deciding, as data. Unknown keys are errors, so that a typo
 * never silently keeps a default.
 */
import { z } from 'zod';
import { Window } from './windows.ts';

const ratio = z.number().min(0).max(1);
const durationMs = z
  .int()
  .min(0)
  .max(7 * 86_400_000);

export const Policy = z.strictObject({
  relieve: z
    .strictObject({
      cpuRatio: z
        .strictObject({
          above: ratio.default(0.85),
          clear: ratio.default(0.75),
          forMs: durationMs.default(300_000),
        })
        .refine((band) => band.clear < band.above, {
          path: ['clear'],
          message: 'must lie below `above`',
        })
        .prefault({}),
    })
    .prefault({}),
  limits: z
    .strictObject({
      migrationsPerNode: z.int().min(1).max(4).default(1),
      migrationsPerCluster: z.int().min(1).max(16).default(2),
      guestCooldownMs: durationMs.default(1_800_000),
    })
    .prefault({}),
  windows: z.array(Window).max(32).default([]),
});
export type Policy = z.infer<typeof Policy>;

/**
 * Durations of policies, guards and the simulated world pass through here, protocol time never
 * does. The scale is 1 for every real cluster.
 */
export const scaledMs = (ms: number, cluster: { timeScale: number }): number =>
  ms / cluster.timeScale;
