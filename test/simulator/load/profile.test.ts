import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { ValidateFunction } from 'ajv';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { profileSchema } from '../../../simulator/load/profile.ts';
import { readProfile } from '../../../simulator/load/profile-file.ts';

const docs = join(import.meta.dirname, '..', '..', '..', 'docs');
const require = createRequire(import.meta.url);
const Ajv2020 = require('ajv/dist/2020') as new (options: object) => {
  compile(schema: object): ValidateFunction;
};
const validate = new Ajv2020({ strict: false }).compile(JSON.parse(profileSchema()) as object);

const problemsOf = (text: string): string[] => {
  const read = readProfile(text);
  if (read.ok) return [];
  return read.problems.map(
    ({ line, column, field, hint }) => `${line}:${column} ${field}: ${hint}`,
  );
};

describe('docs/load-profile.schema.json', () => {
  it('is what the schema of today generates', () => {
    const kept = readFileSync(join(docs, 'load-profile.schema.json'), 'utf8');
    expect(kept === profileSchema()).toBe(true);
  });

  it('and the check of the command agree on every example, which are all fine', async () => {
    const folder = join(docs, 'examples', 'load');
    const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml'));
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) {
      const text = readFileSync(join(folder, name), 'utf8');
      expect({ name, problems: problemsOf(text) }).toEqual({ name, problems: [] });
      validate(parse(text));
      expect({ name, errors: validate.errors }).toEqual({ name, errors: null });
    }
  });

  it('refuses what the command refuses, where a schema can tell', () => {
    for (const text of ['{}', 'stages: []', 'stages: [{nodes: 1, interval: 5, for: 1m}]']) {
      expect({ text, ok: validate(parse(text)) }).toEqual({ text, ok: false });
      expect(problemsOf(text)).not.toEqual([]);
    }
  });
});

describe('a profile', () => {
  it('reads durations as people write them, and counts guests by a number or a range', () => {
    const text = [
      'guests: {min: 2, max: 9}',
      'stages:',
      '  - {nodes: 10, interval: 500ms, for: 1.5h, ramp: 30s}',
      'slo: ["p99<250ms,lost==0", connect<10s]',
    ].join('\n');
    const read = readProfile(text);
    expect(read).toMatchObject({
      ok: true,
      profile: {
        guests: { min: 2, max: 9 },
        stages: [{ nodes: 10, interval: 500, for: 5_400_000, ramp: 30_000 }],
      },
    });
    expect(read.ok && read.profile.slo.flat().map(({ figure }) => figure)).toEqual([
      'p99',
      'lost',
      'connect',
    ]);
  });

  it('names line, column and field of everything wrong, all at once, with the way out', () => {
    const text = [
      'stages:',
      '  - nodes: many',
      '    interval: 5',
      '    for: 2 minutes',
      'load: {shape: square}',
      'commands: {perMinute: 10, mix: {node.shutdown: 1}}',
      'fualts: {}',
      'slo: [p99<1h]',
    ].join('\n');
    expect(problemsOf(text)).toEqual([
      '2:12 stages.0.nodes: use a whole number from 0 to 16384',
      '3:15 stages.0.interval: write a number and ms, s, m or h, such as 30s',
      '4:10 stages.0.for: write a number and ms, s, m or h, such as 30s',
      '5:15 load.shape: use one of mixed, constant, diurnal, spike, weekly, walk, trace',
      '6:48 commands.mix.node.shutdown: is not a known key',
      "8:7 slo.0: p99 is not measured in 'h': use ms or s",
      '7:9 fualts: is not a known key',
    ]);
  });

  it('names what no single value shows', () => {
    const text = [
      'guests: {min: 5, max: 2}',
      'nodesPerCluster: 1',
      'stages:',
      '  - {nodes: 1000, interval: 5s, for: 1m, ramp: 2m}',
      'load: {shape: trace}',
    ].join('\n');
    expect(problemsOf(text)).toEqual([
      '1:23 guests.max: must be at least min, 5',
      "5:15 load.shape: 'trace' and a file or folder go together",
      '4:48 stages.0.ramp: lasts longer than its stage',
      '4:13 stages.0.nodes: make at most 999 clusters: more nodesPerCluster, or fewer nodes',
    ]);
  });

  it('bounds durations and says between what', () => {
    expect(problemsOf('stages: [{nodes: 1, interval: 1h, for: 10ms}]')).toEqual([
      '1:31 stages.0.interval: use 10ms to 5m',
      '1:40 stages.0.for: use 1s to 168h',
    ]);
  });

  it('tells where the YAML itself is broken', () => {
    expect(problemsOf('stages: []\nname: "x')).toEqual([
      expect.stringMatching(/^2:9 yaml: Missing closing "quote/),
    ]);
  });
});
