/** Who is signed in and what that role may do, as the server says; asked once per token. */
import { computed, effect, signal } from '@preact/signals';
import { call, forgetToken, get, token } from './api.ts';

export type Me = {
  username: string | null;
  role: 'viewer' | 'operator' | 'admin';
  clusters: string[] | null;
  /** null where no account stands behind the session. */
  hasSecondFactor: boolean | null;
};

export const me = signal<Me | null>(null);
export const mayAct = computed(() => me.value !== null && me.value.role !== 'viewer');
export const isAdmin = computed(() => me.value?.role === 'admin');

// A refused token was forgotten by then; without an answer the pages say what is wrong.
export const reloadMe = (): void =>
  void get<Me>('session').then(
    (answer) => (me.value = answer),
    () => undefined,
  );

effect(() => {
  if (token.value === null) me.value = null;
  else reloadMe();
});

export async function signOut(): Promise<void> {
  await call('DELETE', 'session').catch(() => undefined);
  forgetToken('');
}
