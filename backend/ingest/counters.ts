/**
 * The figures of ingest. For samples this holds at every moment:
 *
 *   received = stored + duplicate + rejected + queued + inFlight + dropped + leftToWorkers
 *
 * and per code, over messages of every kind, how many were refused.
 */
import type { RejectionCode } from '../../broker/contract/codec.ts';

export type IngestRejectionCode = RejectionCode | 'KR_SIMULATED';

export type Figure =
  | 'received'
  | 'stored'
  | 'duplicate'
  | 'rejected'
  | 'queued'
  | 'inFlight'
  | 'dropped'
  /** Samples that ingest workers store; this process only folded them. */
  | 'leftToWorkers'
  /** Samples that a newer one overtook before the state was read; they are stored. */
  | 'superseded'
  /** Samples of a moment that a daemon missed, from what its hypervisor kept; stored like others. */
  | 'backfilled'
  /** Sequence numbers given up: no daemon sent them in time. */
  | 'abandoned'
  /** Samples stamped in the future, stored with the time of their arrival. */
  | 'clockCorrected'
  /** Hellos, presences, claims, reports and enrolments handed on. */
  | 'forwarded'
  /** Inputs the state had no room for: the pipeline stands still. */
  | 'inputsDropped'
  | 'bufferedBytes'
  | 'batches'
  | 'writeFailures'
  | 'receipts'
  | 'receiptFailures';

export type Counters = Record<Figure | IngestRejectionCode, number>;

export const newCounters = (): Counters => ({
  received: 0,
  stored: 0,
  duplicate: 0,
  rejected: 0,
  queued: 0,
  inFlight: 0,
  dropped: 0,
  leftToWorkers: 0,
  superseded: 0,
  backfilled: 0,
  abandoned: 0,
  clockCorrected: 0,
  forwarded: 0,
  inputsDropped: 0,
  bufferedBytes: 0,
  batches: 0,
  writeFailures: 0,
  receipts: 0,
  receiptFailures: 0,
  KR_TOPIC: 0,
  KR_TOO_LARGE: 0,
  KR_NOT_JSON: 0,
  KR_ENVELOPE: 0,
  KR_WRONG_IDENTITY: 0,
  KR_BODY: 0,
  KR_SIMULATED: 0,
});
