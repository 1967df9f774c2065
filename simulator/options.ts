/**
 * What `simulate` was asked to do, checked as a whole before anything starts: every wrong option
 * is named with its way out, all of them at once.
 */
import { z } from 'zod';
import { nodesPerEnrolmentMax } from '../broker/contract/limits.ts';
import type { Shard } from './load/stages.ts';
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

const path = (what: 'file' | 'folder') => z.string().min(1, `name a ${what}`).optional();

const shard = z
  .string()
  .regex(/^\d+\/\d+$/, 'write which of how many, such as 2/4')
  .transform((text, context): Shard => {
    const [index = 0, count = 0] = text.split('/').map(Number);
    if (index >= 1 && index <= count && count <= 64) return { index, count };
    context.addIssue({ code: 'custom', message: 'use 1/2 to 64/64' });
    return z.NEVER;
  });

/** SHA-256 as openssl prints it, or bare. */
const fingerprint = z
  .string()
  .transform((text) =>
    text
      .replace(/^sha256 fingerprint=/i, '')
      .replaceAll(':', '')
      .toLowerCase(),
  )
  .refine((text) => /^[0-9a-f]{64}$/.test(text), 'write the SHA-256 of the CA, 64 hex digits');

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
    journalDir: path('folder'),
    effectLog: path('file'),
    profile: path('file'),
    aligned: z.boolean().default(false),
    connectRate: number(0.1, 10_000).optional(),
    findKnee: z.boolean().default(false),
    shard: shard.optional(),
    broker: z
      .url({ protocol: /^(mqtts?|wss?)$/, error: 'use mqtt://, mqtts://, ws:// or wss://' })
      .optional(),
    brokerOnly: z.boolean().default(false),
    brokerUser: z.string().min(1, 'name a user').optional(),
    brokerCa: path('file'),
    brokerFingerprint: fingerprint.optional(),
    brokerCert: path('file'),
    brokerKey: path('file'),
    brokerPid: whole(1, 2 ** 22).optional(),
    iMayLoadThis: z.boolean().default(false),
    html: path('file'),
    csv: path('file'),
    out: path('file'),
  })
  .refine(({ nodes, nodesPerCluster }) => nodes / nodesPerCluster <= 999, {
    path: ['nodesPerCluster'],
    message: 'make at most 999 clusters: use more nodes per cluster, or fewer nodes',
  });
export type SimulationOptions = z.infer<typeof SimulationOptions> & {
  /** What was said, and not only taken by default. */
  given: ReadonlySet<string>;
};

/** What a profile says itself; said twice, nobody knew which of the two holds. */
const ofProfiles = new Set(
  'nodes nodesPerCluster guests interval minutes scenario timeScale auto aligned connectRate'.split(
    ' ',
  ),
);

const together: readonly (readonly [string, string, string])[] = [
  ['brokerOnly', 'broker', 'name the broker with --broker mqtt://host:1883'],
  ['brokerUser', 'brokerOnly', 'goes with --broker-only; daemons sign in with their own names'],
  ['brokerPid', 'brokerOnly', 'goes with --broker-only; a server tells its own'],
  ['brokerCert', 'brokerKey', 'needs --brokerKey beside it'],
  ['brokerKey', 'brokerCert', 'needs --brokerCert beside it'],
];

function contradictions(raw: Record<string, unknown>): string[] {
  const has = (name: string): boolean => raw[name] !== undefined && raw[name] !== false;
  const found = has('profile')
    ? Object.keys(raw)
        .filter((name) => ofProfiles.has(name))
        .map((name) => `${asFlag(name)}: stands in the profile; change it there`)
    : [];
  for (const [name, needed, hint] of together) {
    if (has(name) && !has(needed)) {
      found.push(
        `${asFlag(name)}: ${hint.replaceAll(/--[A-Za-z]+/g, (flag) => asFlag(flag.slice(2)))}`,
      );
    }
  }
  if (has('findKnee') && has('shard')) {
    found.push('--find-knee: one simulator looks for a knee; leave --shard out');
  }
  if (has('brokerOnly') && Number(raw['commands'] ?? 0) > 0) {
    found.push('--commands: a bare broker takes none; leave --broker-only out');
  }
  if (has('brokerCa') && has('brokerFingerprint')) {
    found.push('--broker-ca: use it or --broker-fingerprint, not both');
  }
  return found;
}

export type ParsedOptions =
  | { ok: true; options: SimulationOptions }
  | { ok: false; problems: string[] };

const asFlag = (name: string): string =>
  `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export function parseOptions(raw: Record<string, unknown>): ParsedOptions {
  const parsed = SimulationOptions.safeParse(raw);
  const wrong = contradictions(raw);
  if (parsed.success && wrong.length === 0) {
    return { ok: true, options: { ...parsed.data, given: new Set(Object.keys(raw)) } };
  }
  const issues = (parsed.error?.issues ?? []).map((issue) => {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
    const name = unknown[0] ?? String(issue.path[0] ?? '');
    return `${asFlag(name)}: ${unknown.length > 0 ? 'no such option' : issue.message}`;
  });
  return { ok: false, problems: [...issues, ...wrong] };
}
