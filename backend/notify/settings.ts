/** What a person chose for all channels: rules, quiet hours, the morning line, the dead-man ping. */
import { z } from 'zod';
import { ruleNames } from './rules.ts';

const isZone = (zone: string): boolean => {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: zone }));
  } catch {
    return false;
  }
};
const Zone = z.string().max(64).refine(isZone, 'use an IANA zone such as Europe/Berlin');
const Clock = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'use hours and minutes, such as 22:00');

export const NotifySettings = z.strictObject({
  rules: z.partialRecord(z.enum(ruleNames), z.boolean()).default({}).describe('false: not told'),
  quiet: z
    .strictObject({
      from: Clock,
      to: Clock,
      zone: Zone,
      /** Whether even what is critical waits. */
      isStrict: z.boolean().default(false),
    })
    .nullable()
    .default(null)
    .describe('Nothing is sent then, recoveries neither; what is critical still is'),
  morning: z
    .strictObject({
      at: Clock,
      zone: Zone,
      pricePerKwh: z.number().min(0).max(100).nullable().default(null),
      currency: z.string().min(1).max(8).default('EUR'),
    })
    .nullable()
    .default({ at: '08:00', zone: 'UTC', pricePerKwh: null, currency: 'EUR' }),
  deadMan: z
    .strictObject({
      url: z.url({ protocol: /^https?$/ }).max(2_048),
      everyMs: z.int().min(60_000).max(86_400_000).default(300_000),
    })
    .nullable()
    .default(null)
    .describe('Called while all is well; whoever is called tells when the calls end'),
});
export type NotifySettings = z.infer<typeof NotifySettings>;

export const defaultSettings: NotifySettings = NotifySettings.parse({});

/** Minutes since midnight, in that zone. */
function minutesIn(zone: string, atMs: number): number {
  const parts = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  }).formatToParts(new Date(atMs));
  const of = (type: string): number => Number(parts.find((part) => part.type === type)?.value ?? 0);
  return of('hour') * 60 + of('minute');
}

const minutesOf = (clock: string): number => {
  const [hours = 0, minutes = 0] = clock.split(':').map(Number);
  return hours * 60 + minutes;
};

const minuteMs = 60_000;
const dayMinutes = 24 * 60;

/**
 * When the quiet hours end in which this moment lies, null outside of them. Asked again at that
 * moment, it says what is so then: a night that is an hour longer is quiet an hour longer.
 */
export function quietUntilMs(quiet: NotifySettings['quiet'], atMs: number): number | null {
  if (quiet === null) return null;
  const [from, to] = [minutesOf(quiet.from), minutesOf(quiet.to)];
  const now = minutesIn(quiet.zone, atMs);
  const sinceFrom = (now - from + dayMinutes) % dayMinutes;
  const length = (to - from + dayMinutes) % dayMinutes;
  if (sinceFrom >= length) return null;
  return Math.floor(atMs / minuteMs) * minuteMs + (length - sinceFrom) * minuteMs;
}

/** The day, as that zone counts it, whose morning line is due by now; null before its hour. */
export function morningOf(morning: NotifySettings['morning'], atMs: number): string | null {
  if (morning === null || minutesIn(morning.zone, atMs) < minutesOf(morning.at)) return null;
  return new Date(atMs).toLocaleDateString('sv-SE', { timeZone: morning.zone });
}
