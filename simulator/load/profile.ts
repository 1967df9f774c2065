/**
 * What a load test is: the profile that `simulate --profile` reads. One schema gives the check, the
 * types and the JSON Schema for editors. Durations are written by people (`30s`) and are
 * milliseconds from here on. Pure; nothing is read or started here.
 */
import { z } from 'zod';
import type { CommandKind } from '../../broker/contract/command.ts';
import { nodesPerEnrolmentMax, sampleIntervalMaxMs } from '../../broker/contract/limits.ts';
import { scenarios } from '../scenarios/index.ts';
import { parseSlo, type Promised } from '../slo.ts';
import { loadShapes } from '../world/load.ts';

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const written = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const longestMs = 7 * 24 * units.h;

function spell(durationMs: number): string {
  const unit = (['h', 'm', 's'] as const).find((name) => durationMs % units[name] === 0) ?? 'ms';
  return `${durationMs / units[unit]}${unit}`;
}

/** `250ms`, `30s`, `5m`, `1.5h`; answers ms. */
const duration = (lowMs: number, highMs: number = longestMs) =>
  z
    .string('write a number and ms, s, m or h, such as 30s')
    .regex(written, 'write a number and ms, s, m or h, such as 30s')
    .transform((text, context) => {
      const [, digits, unit = 'ms'] = written.exec(text) ?? [];
      const durationMs = Math.round(Number(digits) * units[unit as keyof typeof units]);
      if (durationMs >= lowMs && durationMs <= highMs) return durationMs;
      const message = `use ${spell(lowMs)} to ${spell(highMs)}`;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .meta({ examples: ['30s'] });

const whole = (low: number, high: number) => {
  const hint = `use a whole number from ${low} to ${high}`;
  return z.int(hint).min(low, hint).max(high, hint);
};
const ratio = (hint = 'use a number from 0 to 1') => z.number(hint).min(0, hint).max(1, hint);

const Stage = z.strictObject({
  nodes: whole(0, 16_384).meta({ description: 'Daemons that are connected when the ramp is over' }),
  interval: duration(10, sampleIntervalMaxMs).meta({
    description: 'Between two samples of a node; at least 250ms unless --broker-only',
  }),
  for: duration(1_000).meta({ description: 'How long the stage lasts, its ramp included' }),
  ramp: duration(0).default(0).meta({
    description: 'How long the number of nodes takes to get here from that of the stage before',
  }),
});
export type Stage = z.infer<typeof Stage>;

const perNodeMax = 500;
const Guests = z.union([
  whole(0, perNodeMax).transform((count) => ({ min: count, max: count })),
  z.strictObject({ min: whole(0, perNodeMax), max: whole(0, perNodeMax) }),
]);

const shapes = ['mixed', ...loadShapes, 'trace'] as const;
const Load = z.strictObject({
  shape: z.enum(shapes, `use one of ${shapes.join(', ')}`).default('mixed'),
  base: ratio().optional().meta({ description: 'Share of its cpus a guest wants at rest' }),
  swing: ratio().optional().meta({ description: 'What is added at the peak of the shape' }),
  trace: z
    .string('name a file or a folder')
    .min(1, 'name a file or a folder')
    .optional()
    .meta({
      description:
        "For shape 'trace': a CSV file as /api/v1/telemetry/export writes it, or a folder of " +
        'PlanetLab days; a relative path counts from the profile',
    }),
  day: z
    .string()
    .regex(/^\d{8}$/, 'write the day as 20110303')
    .optional()
    .meta({ description: 'Which day of a PlanetLab folder; the first one unless given' }),
});

/** What the simulated world carries out on a guest without anybody's help. */
export const guestCommands = [
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
] as const satisfies readonly CommandKind[];
export type GuestCommand = (typeof guestCommands)[number];

const Commands = z.strictObject({
  perMinute: z
    .number()
    .positive('use a number above 0')
    .max(6_000, 'use at most 6000')
    .meta({ description: 'Commands asked for in a minute, whatever the server does' }),
  mix: z
    .partialRecord(z.enum(guestCommands, `use ${guestCommands.join(', ')}`), z.number().positive())
    .default({ 'guest.start': 1, 'guest.stop': 1, 'guest.migrate': 1 })
    .meta({ description: 'How often each kind, relative to the others' }),
});

const Repeated = z.strictObject({
  ratio: ratio().meta({ description: 'Share of the connected nodes' }),
  every: duration(1_000).meta({ description: 'How often others are drawn' }),
});
const Lasting = Repeated.extend({ for: duration(100).meta({ description: 'How long it lasts' }) });

const Faults = z.strictObject({
  droppedLinks: Repeated.optional().meta({ description: 'Connections that break without a word' }),
  halfOpen: Lasting.optional().meta({
    description: 'Connections on which nothing passes in either direction, and that stay open',
  }),
  slowReaders: Lasting.optional().meta({
    description: 'Daemons that go on sending and read nothing',
  }),
  malformed: ratio().optional().meta({
    description: 'Share of samples beside which a broken one is sent: cut short, wrong node, ...',
  }),
  duplicates: ratio().optional().meta({ description: 'Share of samples that are sent twice' }),
  clockSkew: z
    .strictObject({
      ratio: ratio().meta({ description: 'Share of the nodes' }),
      by: duration(1).meta({ description: 'Half of them are so far ahead, half so far behind' }),
    })
    .optional(),
});
export type Faults = z.infer<typeof Faults>;

/** Begins with the nodes and the interval of the first stage. */
export const Knee = z.strictObject({
  vary: z.enum(['nodes', 'interval'], 'use nodes or interval').default('nodes'),
  factor: z
    .number()
    .min(1.1, 'use 1.1 to 4')
    .max(4, 'use 1.1 to 4')
    .default(2)
    .meta({ description: 'From one step to the next' }),
  for: duration(5_000).default(30_000).meta({ description: 'How long each step is held' }),
  precision: ratio('use 0.02 to 0.5')
    .min(0.02, 'use 0.02 to 0.5')
    .max(0.5, 'use 0.02 to 0.5')
    .default(0.1)
    .meta({ description: 'Ends when the step that held and the one that broke are so close' }),
  nodesMax: whole(1, 16_384).default(8_192).meta({ description: 'With vary: nodes, no more' }),
});

const OnePromise = z.string('write a promise such as p99<250ms').transform((text, context) => {
  const parsed = parseSlo(text);
  if (parsed.ok) return parsed.promises;
  context.addIssue({ code: 'custom', message: parsed.why });
  return z.NEVER;
});

const scenarioNames = [...scenarios.keys()];

export const Profile = z
  .strictObject({
    name: z.string().min(1).max(100).default('load test'),
    seed: whole(0, 2 ** 32 - 1)
      .default(42)
      .meta({ description: 'Same seed, same world' }),
    clusterPrefix: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,40}$/, 'use 1 to 41 lower-case letters, digits or hyphens')
      .default('sim'),
    nodesPerCluster: whole(1, Math.min(999, nodesPerEnrolmentMax)).default(16),
    guests: Guests.default({ min: 20, max: 20 }).meta({
      description: 'Guests of each node: a number, or min and max',
    }),
    timeScale: z.number().min(1).max(3_600).default(1).meta({
      description: 'How much faster the simulated world runs',
    }),
    auto: z.boolean().default(false).meta({
      description: 'Let the engine migrate guests of these clusters by itself',
    }),
    scenario: z.enum(scenarioNames, `use one of ${scenarioNames.join(', ')}`).default('steady'),
    qos: z
      .union([z.literal(0), z.literal(1)], 'use 0 or 1')
      .default(0)
      .meta({
        description: 'With which telemetry is sent; daemons use 0 and repeat what was not stored',
      }),
    aligned: z.boolean().default(false).meta({
      description: 'All nodes sample in the same instant; otherwise each at its own phase',
    }),
    connectRate: z.number().positive('use a number above 0').max(10_000).optional().meta({
      description: 'New connections in a second; as many as the broker takes unless given',
    }),
    stages: z.array(Stage).min(1, 'name at least one stage').max(1_000),
    load: Load.prefault({}),
    commands: Commands.optional(),
    faults: Faults.default({}),
    knee: Knee.optional().meta({ description: 'What --find-knee varies' }),
    slo: z.array(OnePromise).default([]).meta({
      description: 'Promises; when one does not hold, the exit code is 99',
    }),
  })
  .meta({ title: 'Load profile of kernreaktor simulate' });
export type Profile = z.infer<typeof Profile>;

export type Contradiction = { path: PropertyKey[]; hint: string };

/** What no single value shows. */
export function contradictions(profile: Profile): Contradiction[] {
  const { guests, load, nodesPerCluster, stages } = profile;
  const found: Contradiction[] = [];
  if (guests.min > guests.max) {
    found.push({ path: ['guests', 'max'], hint: `must be at least min, ${guests.min}` });
  }
  if ((load.shape === 'trace') !== (load.trace !== undefined)) {
    found.push({ path: ['load', 'shape'], hint: "'trace' and a file or folder go together" });
  }
  stages.forEach(({ ramp, for: forMs, nodes }, index) => {
    const path = ['stages', index];
    if (ramp > forMs) found.push({ path: [...path, 'ramp'], hint: 'lasts longer than its stage' });
    if (nodes / nodesPerCluster > 999) {
      const hint = 'make at most 999 clusters: more nodesPerCluster, or fewer nodes';
      found.push({ path: [...path, 'nodes'], hint });
    }
  });
  return found;
}

export const promisesOf = ({ slo }: Profile): Promised[] => slo.flat();

/** JSON Schema of the file, for editors; committed as docs/load-profile.schema.json. */
export const profileSchema = (): string =>
  `${JSON.stringify(z.toJSONSchema(Profile, { io: 'input', unrepresentable: 'any' }), null, 2)}\n`;
