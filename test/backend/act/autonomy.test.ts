import { describe, expect, it } from 'vitest';
import { isContradiction, levelNow, wishedLevel } from '../../../backend/act/autonomy.ts';

const day = 86_400_000;
const watched = (forMs: number) => ({ sinceMs: 0, shadowMs: 7 * day, nowMs: forMs });
const denial = (code: string) => ({ rule: 'V8', code, reason: 'r', wayOut: 'w' });

describe('autonomy', () => {
  it('is what was wished for the kind, else for the rest, else nothing', () => {
    const wishes = { 'guest.migrate': 'auto', default: 'recommend' } as const;
    expect(wishedLevel(wishes, 'guest.migrate')).toBe('auto');
    expect(wishedLevel(wishes, 'node.shutdown')).toBe('recommend');
    expect(wishedLevel({}, 'node.shutdown')).toBe('observe');
  });

  it('is approve in the place of auto until the engine was watched for seven days', () => {
    expect(levelNow('auto', watched(7 * day - 1))).toBe('approve');
    expect(levelNow('auto', watched(7 * day))).toBe('auto');
    expect(levelNow('auto', { ...watched(0), shadowMs: 0 })).toBe('auto');
  });

  it('never becomes more than was wished', () => {
    for (const wished of ['observe', 'recommend', 'approve'] as const) {
      expect(levelNow(wished, watched(0))).toBe(wished);
      expect(levelNow(wished, watched(90 * day))).toBe(wished);
    }
  });

  it('is contradicted by what the engine should have seen, not by what it could not', () => {
    for (const code of ['KR_NO_ROOM', 'KR_QUORUM', 'KR_GUESTS_RUNNING', 'KR_PING_PONG']) {
      expect(isContradiction(denial(code))).toBe(true);
    }
    for (const code of [
      'KR_WINDOW',
      'KR_PAUSED',
      'KR_LIMITER',
      'KR_HOLD',
      'KR_BUSY',
      'KR_LOCKED',
      'KR_ON_BATTERY',
      'KR_UP_TOO_SHORT',
    ]) {
      expect(isContradiction(denial(code))).toBe(false);
    }
  });
});
