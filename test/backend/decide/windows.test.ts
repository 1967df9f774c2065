import { array, assert, constantFrom, integer, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { localTime, Window, windowVerdict } from '../../../backend/decide/windows.ts';

const hour = 3_600_000;
const at = (iso: string): number => Date.parse(iso);
const windowOf = (change: Partial<Window> = {}): Window =>
  Window.parse({
    cron: '0 22 * * *',
    durationMs: 8 * hour,
    zone: 'Europe/Berlin',
    allow: ['node.shutdown'],
    ...change,
  });
const isOpen = (windows: readonly Window[], iso: string): boolean =>
  windowVerdict(windows, 'node.shutdown', at(iso)).isOpen;

describe('a change window', () => {
  it('is open from its cron line on for its duration, and then shut until the next', () => {
    const night = [windowOf()];
    expect(isOpen(night, '2026-01-10T20:59:59Z')).toBe(false);
    expect(isOpen(night, '2026-01-10T21:00:00Z')).toBe(true);
    expect(isOpen(night, '2026-01-11T04:59:59.999Z')).toBe(true);
    expect(isOpen(night, '2026-01-11T05:00:00Z')).toBe(false);
  });

  it('binds only the kinds it names, and says when it opens next', () => {
    const night = [windowOf()];
    const noon = at('2026-01-10T12:00:00Z');
    expect(windowVerdict(night, 'guest.migrate', noon)).toEqual({ isOpen: true, by: null });
    const shut = windowVerdict(night, 'node.shutdown', noon);
    expect(shut).toEqual({ isOpen: false, by: night[0], untilMs: at('2026-01-10T21:00:00Z') });
    expect(localTime(at('2026-01-10T21:00:00Z'), 'Europe/Berlin')).toBe(
      '2026-01-10 22:00 Europe/Berlin',
    );
  });

  it('is overruled by a blackout, which says when it ends', () => {
    const backup = windowOf({
      cron: '0 1 * * *',
      durationMs: hour,
      deny: ['node.shutdown'],
      allow: undefined,
    });
    const windows = [windowOf(), backup];
    expect(isOpen(windows, '2026-01-10T23:30:00Z')).toBe(true);
    const shut = windowVerdict(windows, 'node.shutdown', at('2026-01-11T00:30:00Z'));
    expect(shut).toMatchObject({ isOpen: false, untilMs: at('2026-01-11T01:00:00Z') });
    expect(isOpen(windows, '2026-01-11T01:00:00Z')).toBe(true);
  });

  it('stays open without a gap where each opening falls into the one before', () => {
    const always = [windowOf({ cron: '5 * * * *', durationMs: 2 * hour })];
    const first = at('2026-03-28T00:00:00Z');
    for (let step = 0; step < 36 * 2; step += 1) {
      expect(windowVerdict(always, 'node.shutdown', first + step * 1_800_000).isOpen).toBe(true);
    }
  });

  it.each<[string, string, string, string, string, string]>([
    // zone, cron, last closed moment, first open, last open, first closed
    [
      'Europe/Berlin, the night that loses an hour',
      'Europe/Berlin',
      '0 22 * * *',
      '2026-03-28T21:00:00Z',
      '2026-03-29T05:00:00Z',
      '2026-03-29T20:00:00Z',
    ],
    [
      'Europe/Berlin, the night that gains one',
      'Europe/Berlin',
      '0 22 * * *',
      '2026-10-24T20:00:00Z',
      '2026-10-25T04:00:00Z',
      '2026-10-25T21:00:00Z',
    ],
    [
      'America/New_York, the night that loses an hour',
      'America/New_York',
      '0 22 * * *',
      '2026-03-08T03:00:00Z',
      '2026-03-08T11:00:00Z',
      '2026-03-09T02:00:00Z',
    ],
    [
      'America/New_York, the night that gains one',
      'America/New_York',
      '0 22 * * *',
      '2026-11-01T02:00:00Z',
      '2026-11-01T10:00:00Z',
      '2026-11-02T03:00:00Z',
    ],
    [
      'Asia/Kolkata, half an hour off',
      'Asia/Kolkata',
      '0 22 * * *',
      '2026-10-31T16:30:00Z',
      '2026-11-01T00:30:00Z',
      '2026-11-01T16:30:00Z',
    ],
    [
      'Australia/Lord_Howe, which changes by half an hour',
      'Australia/Lord_Howe',
      '0 22 * * *',
      '2026-10-03T11:30:00Z',
      '2026-10-03T19:30:00Z',
      '2026-10-04T11:00:00Z',
    ],
  ])('opens by the wall clock and lasts a true eight hours: %s', (_what, zone, cron, ...times) => {
    const [opens, shuts, next] = times;
    const windows = [windowOf({ cron, zone })];
    const around = (iso: string, shiftMs: number) =>
      windowVerdict(windows, 'node.shutdown', at(iso) + shiftMs).isOpen;
    expect([around(opens, -1), around(opens, 0)]).toEqual([false, true]);
    expect([around(shuts, -1), around(shuts, 0)]).toEqual([true, false]);
    expect([around(next, -1), around(next, 0)]).toEqual([false, true]);
  });

  it.each([
    ['the hour that does not exist', 'Europe/Berlin', '2026-03-29', '2026-03-29T01:30:00.000Z'],
    ['the hour that comes twice', 'Europe/Berlin', '2026-10-25', '2026-10-25T00:30:00.000Z'],
    ['a gap in New York', 'America/New_York', '2026-03-08', '2026-03-08T07:30:00.000Z'],
  ])('opens exactly once also in %s', (_what, zone, day, opens) => {
    const windows = [windowOf({ cron: '30 2 * * *', durationMs: 10 * 60_000, zone })];
    const from = at(`${day}T00:00:00Z`) - 2 * hour;
    const open = Array.from({ length: 26 * 12 }, (_, index) => from + index * 300_000).filter(
      (moment) => windowVerdict(windows, 'node.shutdown', moment).isOpen,
    );
    const days = new Set(open.map((moment) => localTime(moment, zone).slice(0, 10)));
    expect(open.length).toBe(2 * days.size);
    expect(open.map((moment) => new Date(moment).toISOString())).toContain(opens);
  });

  it('forgets a clock that jumped: only the moment asked about counts', () => {
    const moment = integer({
      min: at('2026-01-01T00:00:00Z'),
      max: at('2027-01-01T00:00:00Z'),
    });
    const windows = [windowOf({ cron: '30 1 * * *', durationMs: 3 * hour })];
    assert(
      property(array(moment, { minLength: 2, maxLength: 8 }), (moments) => {
        const inOrder = moments.map((one) => windowVerdict(windows, 'node.shutdown', one));
        const backwards = moments
          .toReversed()
          .map((one) => windowVerdict(windows, 'node.shutdown', one))
          .toReversed();
        expect(inOrder).toEqual(backwards);
      }),
      { seed: 1, numRuns: 100 },
    );
  });

  it('is shut for as long as it says', () => {
    const moment = integer({
      min: at('2026-01-01T00:00:00Z'),
      max: at('2027-01-01T00:00:00Z'),
    });
    const zones = constantFrom('Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'UTC');
    const minutes = integer({ min: 1, max: 7 * 24 * 60 });
    assert(
      property(moment, zones, minutes, (now, zone, length) => {
        const windows = [windowOf({ cron: '30 2 * * 1-5', durationMs: length * 60_000, zone })];
        const verdict = windowVerdict(windows, 'node.shutdown', now);
        if (verdict.isOpen) return;
        const { untilMs } = verdict;
        expect(untilMs).not.toBeNull();
        const opens = untilMs ?? 0;
        expect(windowVerdict(windows, 'node.shutdown', opens).isOpen).toBe(true);
        expect(windowVerdict(windows, 'node.shutdown', Math.max(now, opens - 1)).isOpen).toBe(
          false,
        );
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  it.each([
    [{ cron: '0 22 * *' }, /five fields/],
    [{ cron: '0 0 30 2 *' }, /come true/],
    [{ cron: '*/5 * * * *' }, /one minute/],
    [{ zone: 'Europe/Berlinx' }, /IANA zone/],
    [{ allow: ['node.wake'] }, /never bound/],
    [{ deny: ['node.shutdown'] }, /either allow or deny/],
    [{ allow: undefined }, /either allow or deny/],
    [{ durationMs: 0 }, /60000/],
    [{ allow: [] }, />=1/],
    [{ sometimes: true }, /sometimes/],
  ])('is refused when it is %j', (change, hint) => {
    const parsed = Window.safeParse({ ...windowOf(), ...change });
    expect(parsed.success).toBe(false);
    expect(parsed.error?.issues.map(({ message }) => message).join(' ')).toMatch(hint);
  });
});
