/** Some acts want the password of who asks for them; it is asked for only where the server wants it. */
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
