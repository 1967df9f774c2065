import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import '../../../broker/contract/wording.ts';

const told = (schema: z.ZodType, value: unknown): string | undefined =>
  schema.safeParse(value).error?.issues[0]?.message;

describe('the words for a wrong value', () => {
  it.each([
    [z.object({}), 3, 'is a number: write names with values'],
    [z.string(), undefined, 'is missing: write a text'],
    [z.number(), null, 'is null: write a number'],
    [z.number(), Number.NaN, 'is NaN: write a number'],
    [z.array(z.string()), 'x', 'is a text: write a list'],
    [z.number().min(250), 3, 'use at least 250'],
    [z.number().lt(5), 5, 'use less than 5'],
    [z.string().max(3), 'abcd', 'use at most 3 characters'],
    [z.array(z.string()).min(1), [], 'use at least 1 entries'],
    [z.string().length(2), 'a', 'use exactly 2 characters'],
    [z.number().multipleOf(5), 3, 'use a multiple of 5'],
    [z.enum(['vm', 'lxc']), 'x', 'write one of vm, lxc'],
    [z.literal(1), 2, 'write 1'],
    [z.url(), 'x', 'is not an address such as https://host:port'],
    [z.string().regex(/^a$/), 'b', 'has another form than /^a$/'],
    [z.strictObject({}), { foo: 1 }, 'is not a known key: leave out foo'],
    [
      z.discriminatedUnion('step', [z.object({ step: z.literal('a') })]),
      { step: 'b' },
      'write one of a',
    ],
    [z.int(), 1.5, 'is 1.5: write a whole number'],
    [z.record(z.string().max(1, 'use one letter'), z.number()), { ab: 1 }, 'use one letter'],
    [z.union([z.number(), z.boolean()]), 'x', 'has none of the forms that are allowed here'],
  ])('say what it is and what to write instead', (schema, value, sentence) => {
    expect(told(schema, value)).toBe(sentence);
  });

  it('leave alone what a schema says itself', () => {
    expect(told(z.number('write a port'), 'x')).toBe('write a port');
    expect(
      told(
        z.string().refine(() => false, 'no'),
        'x',
      ),
    ).toBe('no');
  });
});
