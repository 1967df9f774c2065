/**
 * The spellings in which Proxmox VE writes one and the same value: numbers as strings, flags as
 * 0, "1" or true, options as an object or as "k=v,k2=v2". Each is read into one form here and
 * nowhere else; a value in no known spelling is an error, never a default. Pure.
 */
import { z } from 'zod';
import { firstIssue } from '../../../broker/contract/codec.ts';

const decimal = /^-?\d+(\.\d+)?(e[-+]?\d+)?$/i;

/** 2048, "2048", "0.00", -5.7e-05. */
export const Numeric = z.union([
  z.number(),
  z.string().regex(decimal, 'use a number').transform(Number),
]);

export const Count = Numeric.pipe(z.int().min(0));

/** 0, 1, "0", "1", true, false; Perl's false is also the empty string. */
export const Flag = z
  .union([z.boolean(), z.literal([0, 1]), z.literal(['0', '1', ''])])
  .transform((value) => value === true || value === 1 || value === '1');

/** Percent there, ratio here; a container's may come out slightly below 0. */
export const Percent = Numeric.transform((percent) => Math.min(1, Math.max(0, percent / 100)));

/** Bytes, seconds, shares: a container's may be slightly negative, which means 0. */
export const Amount = Numeric.transform((value) => Math.max(0, value));

/** A guest id is a number in some rows and a string in others; ours are strings. */
export const Vmid = Count.transform(String);

/** `a=1,b=2`; a part without a name is the value of `first`, the property's default key. */
export function propertiesOf(text: string, first = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const part of text.split(',').filter((piece) => piece !== '')) {
    const at = part.indexOf('=');
    if (at < 0) found[first] ??= part;
    else found[part.slice(0, at).trim()] = part.slice(at + 1).trim();
  }
  return found;
}

/** Either spelling of an option with several parts. */
export const Properties = z.union([
  z.string().transform((text) => propertiesOf(text)),
  z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .transform((parts) =>
      Object.fromEntries(Object.entries(parts).map(([key, value]) => [key, spelled(value)])),
    ),
]);

const spelled = (value: string | number | boolean): string =>
  typeof value === 'boolean' ? String(Number(value)) : String(value);

/** Tags are joined by semicolons, in older files also by commas or blanks. */
export const tagsOf = (text: string | undefined): string[] =>
  (text ?? '').split(/[;,\s]+/).filter((tag) => tag !== '');

export type Answer<T> = { ok: true; value: T } | { ok: false; problem: string };

/** The JSON that a tool printed, checked. Lines of a task's log before it are not JSON. */
export function readJson<T>(schema: z.ZodType<T>, text: string): Answer<T> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { ok: false, problem: 'the answer is no JSON' };
  }
  const result = schema.safeParse(json);
  if (result.success) return { ok: true, value: result.data };
  const { field, hint } = firstIssue(result.error, '');
  return { ok: false, problem: field === '' ? hint : `${field}: ${hint}` };
}
