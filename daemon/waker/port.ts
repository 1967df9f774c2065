/**
 * A way to switch a sleeping node on. A waker reports that it sent, never that the node woke:
 * proof is the target's own hello with a new bootId.
 */
export type WakeRequest = {
  node: string;
  /** Lower-case, joined by colons. */
  macs: readonly string[];
  /** Directed broadcasts of the target's links, when known. */
  broadcasts: readonly string[];
  /** Names the command in a simulated world's own log; a real packet carries no name. */
  commandId?: string;
};

export type WakeSent = { packets: number; detail: string };

export type Waker = {
  readonly name: 'wol' | 'ipmi' | 'redfish' | 'plug' | 'script' | 'memory';
  /** Absent: every node. */
  serves?(node: string): boolean;
  /** Nobody says whether it was heard, so it is sent more than once. */
  readonly isUnanswered?: boolean;
  /** @throws WakeError when nothing could be sent. */
  wake(request: WakeRequest, signal: AbortSignal): Promise<WakeSent>;
};

export class WakeError extends Error {
  override readonly name = 'WakeError';
  readonly code:
    | 'KR_BAD_MAC'
    | 'KR_NO_INTERFACE'
    /** It could not be sent, or nobody answered. */
    | 'KR_WAKE_SEND'
    /** The other side answered and said no. */
    | 'KR_WAKE_REFUSED'
    | 'KR_WAKE_SECRET';
  constructor(code: WakeError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Those that can wake the node, in the administrator's order; only the named one if asked. */
export const wakersFor = (
  wakers: readonly Waker[],
  node: string,
  name?: string,
): readonly Waker[] =>
  wakers.filter((waker) => {
    const isAsked = name === undefined || waker.name === name;
    return isAsked && (waker.serves?.(node) ?? true);
  });
