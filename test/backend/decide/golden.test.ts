import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { casesOf, planOf, sceneOf, textOf } from './golden.ts';

const files = readdirSync(import.meta.dirname).filter((name) => /^golden-.*\.txt$/.test(name));
const cases = files.flatMap((name) =>
  casesOf(readFileSync(join(import.meta.dirname, name), 'utf8')).map(
    (one) => [`${name.slice('golden-'.length, -'.txt'.length)}: ${one.title}`, one] as const,
  ),
);

describe('golden plans', () => {
  it('are a hundred, and at least thirty of them are about doing nothing, with the reason', () => {
    const idle = cases.filter(([, { plan }]) => plan.every((line) => /^\S+: /.test(line)));
    expect(cases.length).toBeGreaterThanOrEqual(100);
    expect(idle.length).toBeGreaterThanOrEqual(30);
  });

  it.each(cases)('%s', (_, { cluster, plan }) => {
    expect(textOf(planOf(sceneOf(cluster)))).toEqual(plan);
  });
});
