/** Points in time and sentences as people read them, beside the numbers that the terminal shows alike. */
export * from '../../format.ts';

const clockTime = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** Today the time alone; else with the date. */
export function moment(iso: string): string {
  const at = new Date(iso);
  const isToday = at.toDateString() === new Date().toDateString();
  return (isToday ? clockTime : dateTime).format(at);
}

/** What a rule or a refusal says begins and ends like any sentence. */
export const sentence = (text: string): string =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`;
