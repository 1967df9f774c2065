/**
 * The failures of the SQL store that callers tell apart. Whatever a driver throws beyond these is
 * our own mistake and reaches the caller as it is.
 */

/** The store cannot be reached or written now. What was being done may or may not have happened. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable';
  readonly code = 'KR_STORE_UNAVAILABLE';
}

/** A row with the same key exists. The transaction it happened in is still usable. */
export class UniqueViolation extends Error {
  override readonly name = 'UniqueViolation';
  readonly code = 'KR_STORE_UNIQUE';
}

/** For an insert that only another writer's equal insert can collide with: begin anew. */
export async function retryIfTaken<T>(insert: Promise<T>): Promise<T> {
  try {
    return await insert;
  } catch (error) {
    if (!(error instanceof UniqueViolation)) throw error;
    throw new ConflictError('another writer made the same row', { cause: error });
  }
}

/** Thrown by the work of a transaction that lost a race and wants a fresh attempt. */
export class ConflictError extends Error {
  override readonly name = 'ConflictError';
  readonly code = 'KR_STORE_CONFLICT';
}

/** The store's address or file is not one we can use; retrying cannot help. */
export class StoreMisconfigured extends Error {
  override readonly name = 'StoreMisconfigured';
  readonly code = 'KR_STORE_MISCONFIGURED';
}
