/**
 * HOLD on every page: one press and one reason stop everything; releasing needs an administrator
 * and the password. What it says is asked again after every act and every ten seconds, since
 * others may have pressed it.
 */
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { call, get } from './api.ts';
import { ask, Field, PasswordAgain } from './parts/dialog.tsx';
import { toast } from './parts/feedback.tsx';
import { isAdmin, mayAct } from './session.ts';

type Hold = { all: boolean; clusters: string[] };

export const hold = signal<Hold>({ all: false, clusters: [] });
const everyMs = 10_000;

const reload = (): Promise<void> =>
  get<Hold>('hold').then(
    (answer) => void (hold.value = answer),
    () => undefined,
  );

/** `cluster` null = everything. */
export function askHold(cluster: string | null, isHeld: boolean): void {
  const what = cluster === null ? 'everything' : `cluster ${cluster}`;
  const path = cluster === null ? 'hold' : `clusters/${cluster}/hold`;
  ask({
    title: isHeld ? `Release ${what}` : `Stop ${what}`,
    confirm: isHeld ? 'Release' : 'HOLD',
    isDangerous: !isHeld,
    body: isHeld ? (
      <>
        <p>Commands that wait will be looked at again, and the engine may act as it is set.</p>
        <PasswordAgain />
      </>
    ) : (
      <>
        <p>
          No new command is begun from now on, by anybody. What has begun on a host goes on to its
          end; wakes stop too.
        </p>
        <Field label="Reason, for those who wonder">
          <input name="reason" maxLength={512} autocomplete="off" />
        </Field>
      </>
    ),
    run: async ({ reason = '', password = '' }) => {
      await call('PUT', path, {
        body: {
          hold: !isHeld,
          ...(reason === '' ? {} : { reason }),
          ...(password === '' ? {} : { password }),
        },
      });
      await reload();
      toast(isHeld ? `${what} is released.` : `${what} is on HOLD.`, { kind: 'good' });
    },
  });
}

export function HoldButton() {
  useEffect(() => {
    void reload();
    const timer = setInterval(() => document.hidden || void reload(), everyMs);
    return () => clearInterval(timer);
  }, []);
  const { all } = hold.value;
  const may = all ? isAdmin.value : mayAct.value;
  return (
    <button
      type="button"
      class={all ? 'hold on' : 'hold'}
      aria-pressed={all}
      disabled={!may}
      title={may ? undefined : 'Your role may not do this.'}
      onClick={() => askHold(null, all)}
    >
      {all ? 'Release' : 'HOLD'}
    </button>
  );
}

export function HoldBanner() {
  const { all, clusters } = hold.value;
  if (!all && clusters.length === 0) return null;
  return (
    <p class="notice hold-banner" role="status">
      <strong>HOLD.</strong>{' '}
      {all ? 'Nothing is begun anywhere.' : `Nothing is begun in ${clusters.join(', ')}.`}
    </p>
  );
}
