import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { guestMetrics, nodeMetrics } from '../../../broker/contract/metrics.ts';
import { Telemetry } from '../../../broker/contract/telemetry.ts';
import { quickTelemetry } from '../../../broker/contract/telemetry-quick.ts';
import { guestSample, nodeValues, telemetryBody } from '../../support/messages.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Change = { where: number; key: number; how: string; name: string; value: unknown };

/** Every value of the catalogue present, as a daemon that can read them all sends it. */
const full = () => {
  const values = (metrics: readonly { name: string; max: number }[]) =>
    Object.fromEntries(metrics.map(({ name, max }) => [name, Math.min(max, 0.5)]));
  return telemetryBody({
    node: nodeValues({ ...values(nodeMetrics), cpuCount: 8 }),
    guests: [
      guestSample('100', { ...values(guestMetrics), tags: ['kr_park'], lock: 'backup' }),
      guestSample('n1.web', { kind: 'container', state: 'stopped', haState: 'started' }),
    ],
    membersOnline: ['pve1', 'pve2'],
  });
};

const wire = (body: object): Json => JSON.parse(JSON.stringify(body)) as Json;

/** Every object and list in it, so that a change can meet any of them. */
const containers = (value: Json): (Json[] | { [key: string]: Json })[] =>
  typeof value === 'object' && value !== null
    ? [value, ...Object.values(value).flatMap(containers)]
    : [];

const bounds = [...nodeMetrics, ...guestMetrics].flatMap(({ min, max }) => [min, max]);
const odd = fc.oneof(
  fc.constantFrom(...bounds, ...bounds.map((bound) => bound + 1), ...bounds.map((b) => b - 1)),
  fc.constantFrom<Json>(null, '', 'x'.repeat(600), true, {}, [], [null], -0, 1e-9, 0.1 + 0.2),
  // JSON can spell these two; NaN it cannot, but a parser of another library may answer it.
  fc.constantFrom(Infinity, -Infinity, NaN),
  fc.constantFrom('vm', 'running', 'pve1', '100', '-bad', 'a/b', 'A', 'ä'),
  fc.double(),
);

const change = fc.record({
  where: fc.nat(),
  key: fc.nat(),
  how: fc.constantFrom('replace', 'remove', 'add', 'repeat', 'none'),
  name: fc.constantFrom('later', 'cpuRatio', 'constructor', 'toString', 'guests', 'name'),
  value: odd,
});

function changed(body: Json, { where, key, how, name, value: drawn }: Change): void {
  const all = containers(body);
  // The list it is drawn from is shared: an object put into itself by a later change is no JSON.
  const value = structuredClone(drawn);
  const target = all[where % all.length] as Json[] | { [key: string]: Json };
  const keys = Object.keys(target);
  const chosen = keys[key % Math.max(1, keys.length)];
  if (Array.isArray(target)) {
    if (how === 'replace' && chosen !== undefined) target[Number(chosen)] = value as Json;
    else if (how === 'remove') target.splice(Number(chosen ?? 0), 1);
    else if (how === 'repeat' && chosen !== undefined) target.push(target[0] as Json);
  } else if (how === 'add') target[name] = value as Json;
  else if (how === 'replace' && chosen !== undefined) target[chosen] = value as Json;
  else if (how === 'remove' && chosen !== undefined) delete target[chosen];
}

/** In the order of the catalogue, NaN for null. */
function numbersOf({ node, guests }: Telemetry): number[] {
  const ofGuests = (guests ?? []).flatMap((guest) => guestMetrics.map(({ name }) => guest[name]));
  return [...nodeMetrics.map(({ name }) => node[name]), ...ofGuests].map((value) => value ?? NaN);
}

/** Its answer, whose numbers must be those of its objects. */
function quickly(body: unknown): Telemetry | undefined {
  const found = quickTelemetry(body);
  if (!found) return undefined;
  expect([...found.numbers]).toEqual(numbersOf(found.body));
  return found.body;
}

describe('the quick yes for telemetry', () => {
  it('answers an ordinary sample itself, as the schema would', () => {
    const body = wire(full());
    const quick = quickly(body);
    expect(quick).toEqual(Telemetry.parse(wire(full())));
    expect(quick?.guests).toBe((body as { guests: Json }).guests);
  });

  it('hands out the numbers in the order of the catalogue, each in its place', () => {
    const each = Object.fromEntries(guestMetrics.map(({ name }, at) => [name, at / 32]));
    const found = quickTelemetry(wire({ ...full(), guests: [guestSample('1', each)] }));
    const ofGuest = [...(found?.numbers ?? [])].slice(nodeMetrics.length);
    expect(ofGuest).toEqual(guestMetrics.map((_, at) => at / 32));
  });

  it('takes a sample without guests, and one whose driver could not tell', () => {
    for (const guests of [[], null]) {
      const body = wire({ ...full(), guests });
      expect(quickly(body)).toEqual(Telemetry.parse(body));
    }
  });

  it('never takes what the schema refuses, and answers what the schema answers', () => {
    const seen = { quick: 0, left: 0, refused: 0 };
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const body = wire(full());
        for (const one of changes) changed(body, one);
        const quick = quickly(body);
        const schema = Telemetry.safeParse(body);
        if (!schema.success) seen.refused += 1;
        seen[quick === undefined ? 'left' : 'quick'] += 1;
        expect(quick ?? schema.data).toStrictEqual(schema.data);
      }),
      { numRuns: 5_000 },
    );
    // Each side must have been met often, or the comparison says little.
    expect(Math.min(seen.quick, seen.left, seen.refused)).toBeGreaterThan(500);
  });

  it.each([...nodeMetrics, ...guestMetrics].map((metric) => [metric.entity, metric] as const))(
    'refuses an impossible value of a %s',
    (entity, { name, min, max }) => {
      const withValue = (value: number): object => {
        const body = full();
        const target = (entity === 'node' ? body.node : body.guests?.[0]) as object;
        Object.assign(target, { [name]: value });
        return body;
      };
      for (const value of [min, max]) expect(quickTelemetry(withValue(value))).toBeDefined();
      for (const value of [min - 1, max * 1.001 + 1, NaN, Infinity, -Infinity]) {
        expect(quickTelemetry(withValue(value))).toBeUndefined();
        expect(Telemetry.safeParse(withValue(value)).success).toBe(false);
      }
    },
  );

  it('leaves a key that it does not know to the schema, which strips it', () => {
    const body = wire(full()) as { guests: Record<string, Json>[]; node: Record<string, Json> };
    body.node['inventedLater'] = 1;
    expect(quickTelemetry(body)).toBeUndefined();
    expect(Telemetry.parse(body).node).not.toHaveProperty('inventedLater');
  });
});
