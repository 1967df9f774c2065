/**
 * The parts of a policy that name guests: between which sizes one is scaled, and which are started
 * again after they died. A guest that no entry names is only observed, never touched. Pure.
 */
import { z } from 'zod';
import { GuestId } from '../../broker/contract/ids.ts';
import { tagLengthMax } from '../../broker/contract/limits.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';

const ratio = z.number().min(0).max(1);
const durationMs = z
  .int()
  .min(0)
  .max(7 * 86_400_000);
const mebibyte = 2 ** 20;
const bytes = z
  .int()
  .min(16 * mebibyte)
  .max(2 ** 42);
const cores = z.int().min(1).max(8_192);

const names = {
  guests: z.array(GuestId).min(1).max(4_096).optional().describe('Ids of guests'),
  tag: z.string().min(1).max(tagLengthMax).optional().describe('Every guest with this tag'),
};
const namesSome = (one: { guests?: unknown; tag?: unknown }): boolean =>
  one.guests !== undefined || one.tag !== undefined;
const namesNone = { message: 'name `guests` or a `tag`' };

const ordered = { path: ['min'], message: 'must not lie above `max`' };

export const ScaleRule = z
  .strictObject({
    ...names,
    cpu: z
      .strictObject({ min: cores, max: cores, step: cores.default(1) })
      .refine(({ min, max }) => min <= max, ordered)
      .optional()
      .describe('Cores'),
    memory: z
      .strictObject({ min: bytes, max: bytes, step: bytes.default(512 * mebibyte) })
      .refine(({ min, max }) => min <= max, ordered)
      .optional()
      .describe('Bytes'),
  })
  .refine(namesSome, namesNone)
  .refine(({ cpu, memory }) => cpu !== undefined || memory !== undefined, {
    message: 'name the sizes of `cpu` or of `memory`',
  });
export type ScaleRule = z.infer<typeof ScaleRule>;

/** How full a size is when it grows, and how empty when it shrinks. */
const fill = (above: number, below: number) =>
  z
    .strictObject({ above: ratio.default(above), below: ratio.default(below) })
    .refine((one) => one.below < one.above, {
      path: ['below'],
      message: 'must lie below `above`',
    })
    .prefault({});

export const Scale = z
  .strictObject({
    /** The first that names a guest counts; what none names is never scaled. */
    guests: z.array(ScaleRule).max(256).default([]),
    /** Of the cores, and of the memory, that the guest has. */
    cpuRatio: fill(0.85, 0.3),
    memoryRatio: fill(0.9, 0.5),
    /** Fast to give, slow to take. */
    growForMs: durationMs.default(300_000),
    shrinkForMs: durationMs.default(3_600_000),
    /** Between two changes of a guest; doubled by each that failed. */
    cooldownMs: durationMs.default(900_000),
  })
  .prefault({});
export type Scale = z.infer<typeof Scale>;

const RestartRule = z.strictObject(names).refine(namesSome, namesNone);

export const Restart = z
  .strictObject({
    /** Guests that are started again when they died. */
    guests: z.array(RestartRule).max(256).default([]),
    /** After the first death, twice as long after the next. */
    waitMs: durationMs.default(120_000),
    /** So often, then the guest is left alone until a person starts it, or for a day. */
    attempts: z.int().min(1).max(20).default(5),
    /** A guest that ran for so long begins anew. */
    forgetAfterMs: durationMs.default(3_600_000),
    /** What becomes of a guest whose host cannot tell whether somebody stopped it. */
    unexplained: z.enum(['leave', 'start']).default('leave'),
  })
  .prefault({});
export type Restart = z.infer<typeof Restart>;

type Names = { guests?: string[] | undefined; tag?: string | undefined };
type Named = Pick<GuestSample, 'id' | 'tags'>;

const isNamed = (one: Names, { id, tags }: Named): boolean =>
  one.guests?.includes(id) === true || (one.tag !== undefined && tags.includes(one.tag));

/** The first rule that names the guest, null when none does. */
export const ruleFor = <T extends Names>(rules: readonly T[], guest: Named): T | null =>
  rules.find((one) => isNamed(one, guest)) ?? null;
