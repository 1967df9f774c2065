/**
 * Change windows and blackouts of a policy: when which kinds may run. A window opens by a cron
 * line in its own time zone, once a day also where the clocks change, and stays open for a true
 * duration, so that the end moves by an hour on those nights and the length never does. What is
 * open is derived from the given moment alone: a clock that jumps leaves nothing behind. Alone
 * imports croner. Pure.
 */
import { Cron } from 'croner';
import { z } from 'zod';
import { CommandKind } from '../../broker/contract/command.ts';
import { NodeId } from '../../broker/contract/ids.ts';

const minute = 60_000;
const day = 24 * 60 * minute;
const week = 7 * day;

const Kinds = z
  .array(CommandKind)
  .min(1)
  .refine((kinds) => !kinds.includes('node.wake'), {
    message: 'node.wake is never bound by a window: waking is the safe direction',
  });

const scheduleOf = ({ cron, zone }: { cron: string; zone: string }): Cron =>
  new Cron(cron, { timezone: zone, mode: '5-part', paused: true });

const anyMoment = new Date(0);

const isZone = (zone: string): boolean => {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: zone }));
  } catch {
    return false;
  }
};

/** Whether it ever opens: 30 February is a valid line and never comes. */
const opensSometime = (window: { cron: string; zone: string }): boolean => {
  try {
    return scheduleOf(window).nextRun(anyMoment) !== null;
  } catch {
    return false;
  }
};

/** A time zone as the IANA names them. */
export const Zone = z.string().max(64).refine(isZone, 'use an IANA zone such as Europe/Berlin');

export const Window = z
  .strictObject({
    cron: z
      .string()
      .max(128)
      .regex(/^\d{1,2} /, 'begin with one minute of the hour, such as 0')
      .describe('minute hour day month weekday; the minute is one number'),
    durationMs: z.int().min(minute).max(week),
    zone: Zone,
    allow: Kinds.optional().describe(
      'These kinds run only while a window that allows them is open',
    ),
    deny: Kinds.optional().describe('These kinds never run while it is open'),
  })
  .refine(({ allow, deny }) => (allow === undefined) !== (deny === undefined), {
    message: 'name either allow or deny',
  })
  .refine((window) => !isZone(window.zone) || opensSometime(window), {
    path: ['cron'],
    message: 'use five fields (minute hour day month weekday) that come true one day',
  });
export type Window = z.infer<typeof Window>;

/** Something that needs nodes awake: a backup, a replication, a scrub, people at work. */
export const CalendarEntry = z
  .strictObject({
    what: z.string().min(1).max(64).describe('What it is, as reasons will say it'),
    cron: z
      .string()
      .max(128)
      .regex(/^\d{1,2} /, 'begin with one minute of the hour, such as 0')
      .describe('When it begins: minute hour day month weekday; the minute is one number'),
    durationMs: z.int().min(minute).max(week),
    zone: Zone,
    nodes: z
      .array(NodeId)
      .min(1)
      .max(4_096)
      .optional()
      .describe('Which nodes; every one when absent'),
  })
  .refine((entry) => !isZone(entry.zone) || opensSometime(entry), {
    path: ['cron'],
    message: 'use five fields (minute hour day month weekday) that come true one day',
  });
export type CalendarEntry = z.infer<typeof CalendarEntry>;

const quarterMs = 15 * minute;
const offsets = new Map<string, { quarter: number; offsetMs: number }>();

/** How far the clocks of a zone are ahead of UTC; they change at quarters of an hour alone. */
export function zoneOffsetMs(zone: string, atMs: number): number {
  if (zone === 'UTC') return 0;
  const quarter = Math.floor(atMs / quarterMs);
  const known = offsets.get(zone);
  if (known?.quarter === quarter) return known.offsetMs;
  const startMs = quarter * quarterMs;
  const local = new Date(startMs).toLocaleString('sv-SE', { timeZone: zone });
  const offsetMs = Date.parse(`${local.replace(' ', 'T')}Z`) - startMs;
  offsets.set(zone, { quarter, offsetMs });
  return offsetMs;
}

type Timed = { cron: string; zone: string; durationMs: number };
type Span = { opensAtMs: number; closesAtMs: number };

/** The last opening up to a moment, and the first one after it. */
type Openings = { lastMs: number | null; nextMs: number | null };

/** No zone of the world changes its clocks around noon of UTC: from there on a walk is certain. */
const noonBefore = (atMs: number): number => Math.floor((atMs - day / 2) / day) * day + day / 2;

/**
 * Walks from a noon on, since asking for the next opening from within a repeated or missing hour
 * gives other answers than asking from the day before.
 */
function openingsAround(window: Timed, atMs: number, backMs: number): Openings {
  const schedule = scheduleOf(window);
  let lastMs: number | null = null;
  let fromMs = noonBefore(atMs - backMs);
  for (;;) {
    const nextMs = schedule.nextRun(new Date(fromMs))?.getTime() ?? null;
    if (nextMs === null || nextMs > atMs) return { lastMs, nextMs };
    lastMs = nextMs;
    fromMs = nextMs;
  }
}

/** Openings around a moment stay the same until the next one: walking again costs milliseconds. */
const walked = new WeakMap<Timed, Openings & { atMs: number }>();

function openings(window: Timed, atMs: number): Openings {
  const known = walked.get(window);
  const isKnown = known && atMs >= known.atMs && (known.nextMs === null || atMs < known.nextMs);
  if (isKnown) return known;
  const near = openingsAround(window, atMs, day);
  const lastMs = near.lastMs ?? openingsAround(window, atMs, window.durationMs).lastMs;
  const found = { atMs, lastMs, nextMs: near.nextMs };
  walked.set(window, found);
  return found;
}

function openSpan(window: Timed, atMs: number): Span | null {
  const { lastMs } = openings(window, atMs);
  if (lastMs === null || lastMs + window.durationMs <= atMs) return null;
  return { opensAtMs: lastMs, closesAtMs: lastMs + window.durationMs };
}

const nextOpeningMs = (window: Timed, atMs: number): number | null => openings(window, atMs).nextMs;

/** When it is open around a moment, and when it opens next. */
export const spanAround = (
  window: Timed,
  atMs: number,
): { open: Span | null; nextMs: number | null } => ({
  open: openSpan(window, atMs),
  nextMs: nextOpeningMs(window, atMs),
});

export type WindowVerdict =
  | { isOpen: true; by: Window | null }
  /** `untilMs`: when it may run at the earliest; null when nothing says so. */
  | { isOpen: false; by: Window; untilMs: number | null };

const soonest = (moments: readonly (number | null)[]): number | null => {
  const known = moments.filter((moment) => moment !== null);
  return known.length === 0 ? null : Math.min(...known);
};

/** Whether a kind may run now. A kind that no window names may run at any time. */
export function windowVerdict(
  windows: readonly Window[],
  kind: CommandKind,
  atMs: number,
): WindowVerdict {
  for (const window of windows) {
    const span = window.deny?.includes(kind) ? openSpan(window, atMs) : null;
    if (span) return { isOpen: false, by: window, untilMs: span.closesAtMs };
  }
  const allowing = windows.filter(({ allow }) => allow?.includes(kind));
  const open = allowing.find((window) => openSpan(window, atMs) !== null);
  const [first] = allowing;
  if (first === undefined || open) return { isOpen: true, by: open ?? null };
  const untilMs = soonest(allowing.map((window) => nextOpeningMs(window, atMs)));
  return { isOpen: false, by: first, untilMs };
}

/** A moment as people of that zone write it. */
export const localTime = (atMs: number, zone: string): string =>
  `${new Date(atMs).toLocaleString('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' })} ${zone}`;
