/**
 * What `bench:decide` was asked to do, checked as a whole before a trace is read: every wrong
 * option is named with its way out.
 */
import { parseArgs } from 'node:util';
import { z } from 'zod';

export const policyNames = [
  'kernreaktor',
  'lr-mmt',
  'thr-mmt',
  'iqr-mmt',
  'mad-mmt',
  'p0',
] as const;
export type PolicyName = (typeof policyNames)[number];

/** Groups of guards and limits that tracks C and D can be played without, one at a time. */
export const guardGroups = [
  'quorum',
  'moves',
  'power-off-spacing',
  'commands-at-once',
  'reserve',
  'room',
  'idle',
  'cycles',
  'all',
] as const;
export type GuardGroup = (typeof guardGroups)[number];

const list = (text: string): string[] => text.split(',').filter((item) => item !== '');

const Options = z.strictObject({
  trace: z.string('name the folder of the trace').min(1, 'name the folder of the trace'),
  track: z.enum(['A', 'B', 'C', 'D'], 'use A, B, C or D'),
  /** Empty means all that the folder holds. */
  days: z
    .string()
    .default('all')
    .transform((text) => (text === 'all' ? [] : list(text))),
  policies: z
    .string()
    .default(policyNames.join(','))
    .transform(list)
    .pipe(z.array(z.enum(policyNames, `use some of ${policyNames.join(', ')}`)).min(1)),
  /** How many shuffled file orders follow the sorted one; their seeds are 1, 2, .. */
  shuffles: z.coerce.number().int().min(0).max(100).default(0),
  /** Hosts of a cluster in track D. */
  clusterSize: z.coerce.number().int().min(3).max(4_096).default(32),
  /** Seconds that a host takes to wake in tracks C and D. */
  boot: z.coerce.number().int().min(1).max(3_600).default(120),
  /** Groups of guards that tracks C and D are played without, one at a time. */
  without: z
    .string()
    .default('')
    .transform((text) => (text === 'each' ? [...guardGroups] : list(text)))
    .pipe(z.array(z.enum(guardGroups, `use each, or some of ${guardGroups.join(', ')}`))),
  plot: z.string().min(1, 'name the SVG file to write').optional(),
  /** A policy as people write it, played in place of the one of the track. */
  policy: z.string().min(1, 'name the YAML file of a policy').optional(),
});
export type Options = z.infer<typeof Options>;

/** @throws Error with one line per wrong option */
export function readOptions(args: readonly string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      trace: text,
      track: text,
      days: text,
      policies: text,
      shuffles: text,
      plot: text,
      policy: text,
      boot: text,
      without: text,
      'cluster-size': text,
    },
  });
  const { 'cluster-size': clusterSize, ...others } = values;
  const parsed = Options.safeParse({ ...others, ...(clusterSize && { clusterSize }) });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `--${String(path[0])}: ${message}`,
  );
  throw new Error(problems.join('\n'));
}
