import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { asyncapiYaml } from '../../broker/asyncapi.ts';
import { nodeToServer, serverToNode } from '../../broker/contract/topics.ts';
import { telemetryBody, uuidOf } from '../support/messages.ts';

const file = join(import.meta.dirname, '..', '..', 'docs', 'asyncapi.yaml');
const require = createRequire(import.meta.url);

type Document = {
  channels: Record<string, { address: string }>;
  operations: Record<string, { action: string }>;
  components: { messages: Record<string, { payload: object }> };
};
const document = parse(asyncapiYaml()) as Document;

/** Every `$ref` of the document, as path into it. */
function* refs(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === '$ref' && typeof inner === 'string') yield inner;
    else yield* refs(inner);
  }
}

describe('docs/asyncapi.yaml', () => {
  it('is what the generator writes now: run `npm run docs` after changing the contract', () => {
    expect(readFileSync(file, 'utf8') === asyncapiYaml()).toBe(true);
  });

  it('is valid by the AsyncAPI 3.0 schema', () => {
    const schema = require('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object;
    const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
    const isValid = ajv.compile(schema);
    isValid(document);
    expect(isValid.errors ?? []).toEqual([]);
    expect(isValid({ ...document, channels: [] })).toBe(false);
  });

  it('has no dangling reference', () => {
    const found = [...refs(document)].filter((ref) => {
      const parts = ref.replace(/^#\//, '').split('/');
      const target = parts.reduce<unknown>(
        (value, part) => (value as Record<string, unknown> | undefined)?.[part],
        document,
      );
      return target === undefined;
    });
    expect(found).toEqual([]);
    expect([...refs(document)].length).toBeGreaterThan(50);
  });

  it('describes every topic once, with the direction of its sender', () => {
    const names = [...nodeToServer, ...serverToNode, 'server'];
    expect(Object.keys(document.channels).toSorted()).toEqual(names.toSorted());
    const actions = Object.entries(document.operations).map(([name, { action }]) => [name, action]);
    expect(actions).toContainEqual(['receiveTelemetry', 'receive']);
    expect(actions).toContainEqual(['sendGrant', 'send']);
    expect(actions).toHaveLength(names.length);
  });

  it('judges a message as the codec does', () => {
    const ajv = new Ajv({ strict: false, validateFormats: false });
    const isValid = ajv.compile(document.components.messages['telemetry']?.payload ?? false);
    const envelope = {
      v: 1,
      id: uuidOf(1),
      cluster: 'home',
      node: 'pve1',
      session: uuidOf(2),
      seq: 1,
      sentAtMs: 1,
      body: telemetryBody(),
    };
    expect(isValid(envelope)).toBe(true);
    expect(isValid({ ...envelope, v: 2 })).toBe(false);
    expect(isValid({ ...envelope, body: { ...telemetryBody(), incarnation: 'one' } })).toBe(false);
  });
});
