import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { configSchema } from '../../backend/config-file.ts';
import { resolvePolicy, shippedPolicy, strategies } from '../../backend/decide/strategies.ts';
import {
  checkPolicy,
  policyDifferences,
  policySchema,
  problemText,
  schemaText,
} from '../../backend/policy-file.ts';

const folder = join(import.meta.dirname, 'policies');
const docs = join(import.meta.dirname, '../../docs');
const fixtures = (kind: 'good' | 'bad') =>
  readdirSync(join(folder, kind)).map(
    (name) => [name, readFileSync(join(folder, kind, name), 'utf8')] as const,
  );
const accepts = new Ajv2020({ strict: false }).compile(policySchema());

describe('a policy as text', () => {
  it.each(fixtures('good'))('%s is fine, and its schema agrees', (_, text) => {
    const checked = checkPolicy(text);
    expect(checked).toMatchObject({ ok: true });
    expect(accepts(parse(text))).toBe(true);
    // What is stored is whole: read again, it means the same.
    const again = checked.ok ? checkPolicy(checked.yaml) : undefined;
    expect(again).toMatchObject({ ok: true, hash: checked.ok ? checked.hash : '' });
  });

  it.each(fixtures('bad'))('%s is refused where its first line says', (_, text) => {
    const checked = checkPolicy(text);
    if (checked.ok) throw new Error('accepted');
    const expected = text.split('\n')[0]?.replace('# ', '') ?? '';
    expect(checked.problems.map(problemText)[0]?.slice(0, expected.length)).toBe(expected);
  });

  it.each(['kernreaktor', 'policy'])('has the %s schema of docs/ up to date', (name) => {
    const schema = name === 'policy' ? policySchema() : configSchema();
    const written = readFileSync(join(docs, `${name}.schema.json`), 'utf8');
    // Run npm run docs when it is not.
    expect(written === schemaText(schema)).toBe(true);
  });

  it('may be the name of a shipped one', () => {
    expect(checkPolicy('save-power')).toMatchObject({ policy: shippedPolicy('save-power') });
  });
});

describe('what a policy extends', () => {
  it.each(Object.keys(strategies))('%s is shipped and whole', (name) => {
    expect(checkPolicy(`extends: ${name}`)).toMatchObject({ ok: true });
  });

  it('counts wherever the policy itself says nothing, at any depth', () => {
    const of = { base: { extends: 'save-power', save: { sigmas: 2, fillRatio: 0.5 } } };
    const resolved = resolvePolicy({ extends: 'base', save: { sigmas: 3 } }, of);
    if (!resolved.ok) throw new Error('refused');
    expect(resolved.policy.save).toMatchObject({ mode: 'on', sigmas: 3, fillRatio: 0.5 });
  });

  it('is replaced whole where it is a list', () => {
    const resolved = resolvePolicy({ extends: 'timetable', calendar: [] });
    expect(resolved).toMatchObject({ ok: true, policy: { calendar: [], save: { mode: 'on' } } });
  });

  it('never leads back to itself', () => {
    const of = { a: { extends: 'b' }, b: { extends: 'a' } };
    expect(resolvePolicy(of.a, of, 'a')).toEqual({
      ok: false,
      problems: [{ path: ['extends'], hint: 'leads back to itself: a -> b -> a' }],
    });
  });
});

describe('the difference of two policies', () => {
  it('names every value by its field', () => {
    const after = { ...shippedPolicy('balance'), windows: [] };
    expect(policyDifferences(shippedPolicy('balance'), after)).toEqual([]);
    const performance = policyDifferences(shippedPolicy('balance'), shippedPolicy('performance'));
    expect(performance).toContainEqual({
      field: 'relieve.cpuRatio.above',
      before: '0.85',
      after: '0.7',
    });
    expect(performance).toContainEqual({
      field: 'relieve.urgent.forMs',
      before: null,
      after: '60000',
    });
  });
});
