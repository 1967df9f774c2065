import { describe, expect, it } from 'vitest';
import {
  type Campaign,
  type CampaignStep,
  cyclesMax,
  nextStep,
  passesWithTime,
  type View,
} from '../../../backend/act/campaign.ts';

const campaign = (change: Partial<Campaign> = {}): Campaign => ({
  id: 'c',
  cluster: 'home',
  node: 'big',
  waker: 'wol',
  cycles: 3,
  phase: 'off',
  attempts: 0,
  done: 0,
  deadlineAtMs: 1_000_000,
  nextAtMs: 0,
  isCancelled: false,
  isOffSeen: true,
  ...change,
});
const view = (change: Partial<View> = {}, row: Partial<Campaign> = {}): View => ({
  campaign: campaign(row),
  nowMs: 100,
  isHeld: false,
  command: null,
  denial: null,
  proven: 0,
  hasRejoined: false,
  rejoinMaxMs: 600_000,
  offMaxMs: 1_200_000,
  wakeMaxMs: 1_800_000,
  ...change,
});
const command = (
  state: NonNullable<View['command']>['state'],
  grantedAtMs: number | null = 50,
) => ({
  state,
  reason: 'because',
  grantedAtMs,
});
const denial = { rule: 'W4', code: 'KR_UP_TOO_SHORT', reason: 'up 5 s', wayOut: 'wait' };

const awake = { rule: 'W1', code: 'KR_ALREADY_AWAKE', reason: 'is awake', wayOut: 'nothing' };

describe('a proving campaign', () => {
  it.each<[string, View, Partial<CampaignStep>]>([
    ['switches the node off first', view(), { do: 'send', kind: 'node.shutdown' }],
    ['waits under HOLD', view({ isHeld: true }), { do: 'wait', why: 'HOLD' }],
    ['waits while a guard denies', view({ denial }), { do: 'wait', why: 'up 5 s; wait' }],
    ['waits for its pause', view({}, { nextAtMs: 101 }), { do: 'wait' }],
    ['waits for the power-off', view({ command: command('VERIFYING') }), { do: 'wait' }],
    ['waits for a doubtful one', view({ command: command('INDETERMINATE') }), { do: 'wait' }],
    [
      'wakes it all the same when nobody has seen it off for long',
      view({ command: command('INDETERMINATE'), nowMs: 1_200_051 }),
      { do: 'enter', phase: 'wake', isOffSeen: false },
    ],
    [
      'goes on to wake',
      view({ command: command('SUCCEEDED') }),
      { do: 'enter', phase: 'wake', isOffSeen: true },
    ],
    [
      'ends when it was woken by hand',
      view({ denial: awake }, { phase: 'wake' }),
      { do: 'end', state: 'failed', isWakeFailure: false, why: expect.stringContaining('by hand') },
    ],
    [
      'ends when it never went off',
      view({ denial: awake }, { phase: 'wake', isOffSeen: false }),
      { do: 'end', state: 'failed', isWakeFailure: false, why: expect.stringContaining('saw it') },
    ],
    [
      'waits for what stands against its wake',
      view({ denial, nowMs: 1_800_000 }, { phase: 'wake' }),
      { do: 'wait' },
    ],
    [
      'and ends when that lasts, naming the way out',
      view({ denial, nowMs: 1_800_001 }, { phase: 'wake' }),
      {
        do: 'end',
        state: 'failed',
        isWakeFailure: false,
        why: expect.stringContaining('switch it'),
      },
    ],
    [
      'proves nothing by a cycle that nobody saw',
      view(
        { command: command('SUCCEEDED'), hasRejoined: true },
        { phase: 'rejoin', isOffSeen: false },
      ),
      { do: 'end', state: 'failed', isWakeFailure: false },
    ],
    [
      'asks again after a refusal',
      view({ command: command('REJECTED', null) }),
      { do: 'enter', phase: 'off' },
    ],
    [
      'ends with a cancelled power-off',
      view({ command: command('CANCELLED', null) }),
      { do: 'end', state: 'cancelled' },
    ],
    [
      'fails with a failed power-off, which says nothing of waking',
      view({ command: command('FAILED') }),
      { do: 'end', state: 'failed', isWakeFailure: false },
    ],
    ['ends when enough is proven', view({ proven: 3 }), { do: 'end', state: 'succeeded' }],
    [
      'ends when its time is over',
      view({ nowMs: 1_000_000 }),
      { do: 'end', state: 'failed', why: expect.stringContaining('time is over') },
    ],
    [
      'ends when the node refuses too often',
      view({}, { attempts: 10 }),
      { do: 'end', state: 'failed' },
    ],
    [
      'ends when proofs are voided again and again',
      view({}, { attempts: 6, done: 6 }),
      { do: 'end', state: 'failed', why: expect.stringContaining('kernel') },
    ],
    [
      'ends at once when it is cancelled and the node awake',
      view({}, { isCancelled: true }),
      { do: 'end', state: 'cancelled' },
    ],
    [
      'wakes after its pause',
      view({}, { phase: 'wake', nextAtMs: 100 }),
      { do: 'send', kind: 'node.wake' },
    ],
    [
      'lets the node be off for a moment',
      view({}, { phase: 'wake', nextAtMs: 101 }),
      { do: 'wait' },
    ],
    [
      'wakes a node also when it is cancelled and its time is over',
      view({ nowMs: 2_000_000 }, { phase: 'wake', isCancelled: true }),
      { do: 'send', kind: 'node.wake' },
    ],
    [
      'keeps to HOLD while the node sleeps',
      view({ isHeld: true }, { phase: 'wake' }),
      { do: 'wait' },
    ],
    [
      'sends a wake that was never granted again',
      view({ command: command('EXPIRED', null) }, { phase: 'wake' }),
      { do: 'enter', phase: 'wake' },
    ],
    [
      'goes on when the wake is proven by a new boot',
      view({ command: command('SUCCEEDED') }, { phase: 'wake' }),
      { do: 'enter', phase: 'rejoin' },
    ],
    [
      'fails when the wake missed its deadline',
      view({ command: command('INDETERMINATE') }, { phase: 'wake' }),
      { do: 'end', state: 'failed', isWakeFailure: true },
    ],
    [
      'waits until it has rejoined',
      view({ command: command('SUCCEEDED') }, { phase: 'rejoin' }),
      { do: 'wait' },
    ],
    [
      'measures from the grant of the wake to the rejoined cluster',
      view({ command: command('SUCCEEDED', 40), hasRejoined: true }, { phase: 'rejoin' }),
      { do: 'prove', bootMs: 60 },
    ],
    [
      'proves nothing by a node that comes back after more than ten minutes',
      view(
        { command: command('SUCCEEDED', 0), hasRejoined: true, nowMs: 600_001 },
        { phase: 'rejoin' },
      ),
      { do: 'end', state: 'failed', isWakeFailure: true },
    ],
    [
      'fails without a wake on record',
      view({ command: null, hasRejoined: true }, { phase: 'rejoin' }),
      { do: 'end', state: 'failed' },
    ],
  ])('%s', (_what, given, step) => {
    expect(nextStep(given)).toMatchObject(step);
  });

  it('ends under any answers of the world, and never sends more power-offs than it may', () => {
    for (const outcome of ['SUCCEEDED', 'REJECTED', 'EXPIRED'] as const) {
      let row = campaign({ cycles: cyclesMax });
      let offs = 0;
      let last: CampaignStep = { do: 'wait', why: '' };
      let sent: View['command'] = null;
      for (let round = 0; round < 500 && last.do !== 'end'; round += 1) {
        // Each cycle comes back with another kernel, so nothing is ever proven.
        last = nextStep(view({ command: sent, hasRejoined: true }, row));
        if (last.do === 'send') {
          const isOff = last.kind === 'node.shutdown';
          offs += isOff ? 1 : 0;
          row = { ...row, attempts: row.attempts + (isOff ? 1 : 0) };
          sent = command(
            isOff ? outcome : 'SUCCEEDED',
            isOff && outcome !== 'SUCCEEDED' ? null : 50,
          );
        }
        if (last.do === 'enter') {
          row = { ...row, phase: last.phase };
          if (last.phase !== 'rejoin') sent = null;
        }
        if (last.do === 'prove') {
          row = { ...row, phase: 'off', done: row.done + 1 };
          sent = null;
        }
      }
      expect(last).toMatchObject({ do: 'end', state: 'failed' });
      expect(offs).toBeLessThanOrEqual(cyclesMax + 3);
    }
  });

  it('begins in spite of what time lifts, and not in spite of anything else', () => {
    expect(passesWithTime(denial)).toBe(true);
    expect(passesWithTime({ ...denial, code: 'KR_GUESTS_RUNNING' })).toBe(false);
    expect(passesWithTime({ ...denial, code: 'KR_PROTECTED' })).toBe(false);
  });
});
