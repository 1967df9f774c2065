/** What a metrics store throws at its edge; callers branch on `code`, never on the wording. */

/** The batch is not durable. Repeating it later is harmless and is the way out. */
export class MetricsWriteError extends Error {
  readonly code = 'KR_METRICS_WRITE';
  constructor(detail: string, cause: unknown) {
    super(detail, { cause });
  }
}

/** The query cannot be answered as asked; `field` and the message name the way out. */
export class MetricsQueryError extends Error {
  readonly code = 'KR_METRICS_QUERY';
  readonly field: string;
  constructor(field: string, detail: string, cause?: unknown) {
    super(detail, { cause });
    this.field = field;
  }
}
