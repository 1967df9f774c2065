/** Points in time and sentences as people read them, beside the numbers that the terminal shows alike. */
export * from '../../format.ts';

const clockTime = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

const hourAndMinute = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const dayAndHour = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

function momentIn(iso: string, today: Intl.DateTimeFormat, other: Intl.DateTimeFormat): string {
  const at = new Date(iso);
  return (at.toDateString() === new Date().toDateString() ? today : other).format(at);
}

/** Today the time alone; else with the date. */
export const moment = (iso: string): string => momentIn(iso, clockTime, dateTime);
/** The same without seconds, for what is to come. */
export const clock = (iso: string): string => momentIn(iso, hourAndMinute, dayAndHour);

const dayOfMonth = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

/** Beside an axis of time whose marks are so far apart: midnight is its day. */
export function mark(atMs: number, apartMs: number): string {
  const at = new Date(atMs);
  if (at.getHours() === 0 && at.getMinutes() === 0) return dayOfMonth.format(at);
  return (apartMs < 60_000 ? clockTime : hourAndMinute).format(at);
}

/** What a rule or a refusal says begins and ends like any sentence. */
export const sentence = (text: string): string =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`;
