/**
 * How any part of the backend says no before a row exists: what is wrong, where, and the way out.
 * An expected answer and no error; whoever speaks to the client makes a problem of it. Types only.
 */

export type Refusal = {
  /** Of HTTP, since a client is who hears it. */
  status: number;
  code: `KR_${string}`;
  /** The field of the request it is about, or ''. */
  field: string;
  detail: string;
  wayOut: string;
};
export type Refused = { ok: false; refusal: Refusal };
