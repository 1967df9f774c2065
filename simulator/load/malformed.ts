/**
 * Broken copies of a good telemetry message, each with the code under which a server refuses it.
 * Pure: the same draw gives the same break.
 */
import type { RejectionCode } from '../../broker/contract/codec.ts';

type Broken = { payload: string; code: RejectionCode };
type Message = { node: string; seq: number; body: { node: Record<string, unknown> } };

const changed = (payload: string, change: (message: Message) => void): string => {
  const message = JSON.parse(payload) as Message;
  change(message);
  return JSON.stringify(message);
};

const breaks: readonly ((payload: string) => Broken)[] = [
  (payload) => ({ code: 'KR_NOT_JSON', payload: payload.slice(0, payload.length >> 1) }),
  (payload) => ({
    code: 'KR_WRONG_IDENTITY',
    payload: changed(payload, (message) => void (message.node = `not-${message.node}`)),
  }),
  (payload) => ({
    code: 'KR_ENVELOPE',
    payload: changed(payload, (message) => void (message.seq = -1)),
  }),
  (payload) => ({
    code: 'KR_BODY',
    payload: changed(payload, ({ body }) => void (body.node['cpuRatio'] = 7)),
  }),
];

/** `ratio` in [0, 1) chooses how it breaks. */
export function broken(payload: string, ratio: number): Broken {
  const make = breaks[Math.floor(ratio * breaks.length)] as (typeof breaks)[number];
  return make(payload);
}
