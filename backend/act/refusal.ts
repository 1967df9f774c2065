/**
 * How a request is refused before any row exists: a stable code, the field, and the way out. A
 * guard's denial is no refusal: it leaves a REJECTED row with all inputs behind.
 */
import type { Refusal, Refused } from '../refusal.ts';
import { StoreUnavailable } from '../store/sql/errors.ts';
import { NotLeader } from './lease.ts';

/** Thrown inside a step to leave it without a trace; `answer` turns it back into a value. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.detail);
    this.refusal = refusal;
  }
}

export function refuse(
  status: number,
  code: Refusal['code'],
  rest: Pick<Refusal, 'field' | 'detail' | 'wayOut'>,
): never {
  throw new RefusedError({ status, code, ...rest });
}

function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof RefusedError) return error.refusal;
  if (error instanceof StoreUnavailable) {
    return {
      status: 503,
      code: 'KR_STORE_UNAVAILABLE',
      field: '',
      detail: 'the SQL store does not answer, so nothing can be promised',
      wayOut: 'send it again with the same Idempotency-Key',
    };
  }
  if (error instanceof NotLeader) {
    return {
      status: 503,
      code: 'KR_NOT_LEADER',
      field: 'cluster',
      detail: 'another backend decides for this cluster, or none does yet',
      wayOut: 'send it again in a few seconds, or to that backend',
    };
  }
  return undefined;
}

/** Runs what people asked for; expected failures become values, our own bugs stay errors. */
export async function answer<T>(work: () => Promise<T>): Promise<T | Refused> {
  try {
    return await work();
  } catch (error) {
    const refusal = refusalOf(error);
    if (!refusal) throw error;
    return { ok: false, refusal };
  }
}
