import { describe, expect, it } from 'vitest';
import { refusalError } from '../../../backend/http/errors.ts';
import { toHttpError } from '../../../backend/http/problems.ts';
import { StoreUnavailable } from '../../../backend/store/sql/errors.ts';

const refusal = (status: number) => ({
  status,
  code: 'KR_SOMETHING' as const,
  field: '',
  detail: 'what is wrong',
  wayOut: 'what to do',
});

describe('what is away', () => {
  it('answers 503 with the time after which it may be asked again, whoever found out', () => {
    const found = [refusalError(refusal(503)), toHttpError(new StoreUnavailable('silent'))];
    expect(found.map((error) => error?.problem.status)).toEqual([503, 503]);
    expect(found.map((error) => error?.retryAfterMs)).toEqual([1_000, 1_000]);
  });

  it('is not what a refusal is: that one is not to be repeated as it is', () => {
    expect(refusalError(refusal(409)).retryAfterMs).toBeUndefined();
  });
});
