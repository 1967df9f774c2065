/**
 * What shows that a person means it: the password, asked for only where the server wants it, and
 * the name of what is gone afterwards, typed once more.
 */
import { ApiRefused } from './api.ts';
import type { Person } from './prove-wake.ts';

/** Sends it, and sends it again with the password where that was the refusal. */
export async function withProof<T>(
  person: Person,
  send: (proof: { password?: string }) => Promise<T>,
): Promise<T> {
  try {
    return await send({});
  } catch (error) {
    const isAsked = error instanceof ApiRefused && error.code === 'KR_REAUTHENTICATION';
    const password = isAsked ? await person.askSecret('Your password: ') : null;
    if (password === null) throw error;
    return send({ password });
  }
}

export class Unconfirmed extends Error {
  override readonly name = 'Unconfirmed';
  readonly code = 'KR_UNCONFIRMED';
}

type Wanted = {
  /** Such as `name of the node`. */
  what: string;
  id: string;
  /** Typed beforehand by whoever runs this from a script. */
  given: string | undefined;
};

/** The id, once it was typed. @throws Unconfirmed */
export async function confirmed(person: Person, { what, id, given }: Wanted): Promise<string> {
  const typed = given ?? (await person.ask(`Type the ${what} to go on: `));
  if (typed?.trim() === id) return id;
  throw new Unconfirmed(
    typed === null
      ? `nobody is there to confirm: run it on a terminal, or with --confirm ${id}`
      : `that is not ${id}; nothing was done`,
  );
}
