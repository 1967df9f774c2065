/**
 * What `simulate` was asked to do, checked as a whole before anything starts: every wrong option
 * is named with its way out, all of them at once.
 */
import { z } from 'zod';
import { nodesPerEnrolmentMax } from '../broker/contract/limits.ts';
import { scenarios } from './scenarios/index.ts';
import { parseSlo, type Promised } from './slo.ts';

const number = (low: number, high: number) => {
  const hint = `use a number from ${low} to ${high}`;
  return z.coerce.number(hint).min(low, hint).max(high, hint);
};
const whole = (low: number, high: number) => {
  const hint = `use a whole number from ${low} to ${high}`;
  return z.coerce.number(hint).int(hint).min(low, hint).max(high, hint);
};

const promises = z.string().transform((text, context): Promised[] => {
  const parsed = parseSlo(text);
  if (parsed.ok) return parsed.promises;
  context.addIssue({ code: 'custom', message: parsed.why });
  return z.NEVER;
});

const names = [...scenarios.keys()];

export const SimulationOptions = z
  .strictObject({
    nodes: whole(1, 16_384).default(16),
    nodesPerCluster: whole(1, Math.min(999, nodesPerEnrolmentMax)).default(16),
    guests: whole(0, 500).default(20),
    /** Seconds, as on the command line. */
    interval: number(0.25, 300).default(5),
    seed: whole(0, 2 ** 32 - 1).default(42),
    scenario: z.enum(names, `use one of ${names.join(', ')}`).default('steady'),
    minutes: number(0.05, 10_080).default(5),
    slo: promises.default([]),
    commands: whole(0, 100_000).default(0),
    clusterPrefix: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,50}$/, 'use 1 to 51 lower-case letters, digits or hyphens')
      .default('sim'),
    timeScale: number(1, 3_600).default(1),
    auto: z.boolean().default(false),
    json: z.boolean().default(false),
    journalDir: z.string().min(1, 'name a folder').optional(),
    effectLog: z.string().min(1, 'name a file').optional(),
  })
  .refine(({ nodes, nodesPerCluster }) => nodes / nodesPerCluster <= 999, {
    path: ['nodesPerCluster'],
    message: 'make at most 999 clusters: use more nodes per cluster, or fewer nodes',
  });
export type SimulationOptions = z.infer<typeof SimulationOptions>;

export type ParsedOptions =
  | { ok: true; options: SimulationOptions }
  | { ok: false; problems: string[] };

const asFlag = (name: string): string =>
  `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export function parseOptions(raw: Record<string, unknown>): ParsedOptions {
  const parsed = SimulationOptions.safeParse(raw);
  if (parsed.success) return { ok: true, options: parsed.data };
  const problems = parsed.error.issues.map((issue) => {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
    const name = unknown[0] ?? String(issue.path[0] ?? '');
    return `${asFlag(name)}: ${unknown.length > 0 ? 'no such option' : issue.message}`;
  });
  return { ok: false, problems };
}
