/** What a person asks of node n1 of the cluster home, unless a test says otherwise. */
import type { Submission } from '../../../backend/act/planned.ts';
import type { Service } from './twin.ts';

export type Wish = Partial<Submission> & Pick<Submission, 'kind'>;

export const wishOf = (rest: Wish): Submission => ({
  cluster: 'home',
  node: 'n1',
  args: {},
  origin: 'person',
  actor: 'account:anna',
  approved: true,
  ...rest,
});

export const restart = wishOf({ kind: 'guest.restart', guest: '100' });

/** The id of the command that came of it. Throws the refusal's words when none did. */
export async function taken({ commands }: Service, wish: Wish): Promise<string> {
  const answer = await commands.submit(wishOf(wish));
  if (!answer.ok) throw new Error(answer.refusal.detail);
  return answer.id;
}
