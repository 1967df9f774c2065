/**
 * What a schema says of a wrong value, in the words of these pages: what it is and what to write
 * instead. Words that a schema brings along stay. Imported for what it does, by those who turn a
 * failed check into a sentence.
 */
import { z } from 'zod';

const names: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'names with values',
  record: 'names with values',
  null: 'null',
};

const formats: Readonly<Record<string, string>> = {
  url: 'an address such as https://host:port',
  email: 'an e-mail address',
  datetime: 'a time such as 2026-01-31T12:00:00Z',
  date: 'a day such as 2026-01-31',
  uuid: 'a UUID',
  ipv4: 'an IPv4 address',
  ipv6: 'an IPv6 address',
};

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  // Of a number it is the value that is wrong where only some numbers will do.
  if (typeof value === 'number' && !Number.isInteger(value)) return String(value);
  return names[typeof value] ?? typeof value;
}

const units: Readonly<Record<string, string>> = { string: ' characters', array: ' entries' };

type Bound = { inclusive?: boolean; exact?: boolean; origin: string };

function boundOf(limit: number | bigint, word: 'least' | 'most', bound: Bound): string {
  const { inclusive = true, exact = false, origin } = bound;
  const unit = units[origin] ?? '';
  if (exact) return `use exactly ${limit}${unit}`;
  if (inclusive) return `use at ${word} ${limit}${unit}`;
  return `use ${word === 'least' ? 'more' : 'less'} than ${limit}${unit}`;
}

function wrongType({ expected, input }: z.core.$ZodRawIssue<z.core.$ZodIssueInvalidType>): string {
  const wanted = `write ${names[expected] ?? expected}`;
  return input === undefined ? `is missing: ${wanted}` : `is ${kindOf(input)}: ${wanted}`;
}

/** Undefined where the words of zod will do. */
function sentenceOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return wrongType(issue);
    case 'invalid_value':
      return `write ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return boundOf(issue.minimum, 'least', issue);
    case 'too_big':
      return boundOf(issue.maximum, 'most', issue);
    case 'not_multiple_of':
      return `use a multiple of ${issue.divisor}`;
    case 'invalid_format':
      return issue.pattern === undefined || issue.format in formats
        ? `is not ${formats[issue.format] ?? issue.format}`
        : `has another form than ${issue.pattern}`;
    case 'unrecognized_keys':
      return `is not a known key: leave out ${issue.keys.join(', ')}`;
    case 'invalid_union':
      return Array.isArray(issue.options)
        ? `write one of ${issue.options.join(', ')}`
        : 'has none of the forms that are allowed here';
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues[0]?.message;
    case 'custom':
      break;
  }
  return undefined;
}

z.config({ localeError: sentenceOf });
