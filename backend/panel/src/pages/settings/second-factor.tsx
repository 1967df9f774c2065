/** One's own second factor: set up by showing that the app has it, taken away by the password. */
import { useEffect, useRef } from 'preact/hooks';
import { call } from '../../api.ts';
import { ask, Field, PasswordAgain } from '../../parts/dialog.tsx';
import { toast } from '../../parts/feedback.tsx';
import { Qr } from '../../parts/qr.tsx';
import { me, reloadMe } from '../../session.ts';

type Secret = { secret: string; uri: string };

const proofOf = (password = ''): object => (password === '' ? {} : { password });

/** Six digits, as apps show them; what was just asked for has the focus. */
export function CodeField({ label = 'Code of the app' }: { label?: string }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  return (
    <Field label={label}>
      <input
        ref={input}
        name="totp"
        class="mono"
        required
        inputMode="numeric"
        pattern="\d{6}"
        maxLength={6}
        autocomplete="one-time-code"
      />
    </Field>
  );
}

const askCode = ({ secret, uri }: Secret, done: () => void): void =>
  ask({
    title: 'Show it to your authenticator app',
    confirm: 'Switch it on',
    body: (
      <>
        <Qr text={uri} label="The secret as a QR code; it also stands below as text" />
        <p class="faint">
          Or type it: <code class="secret">{secret.replaceAll(/(.{4})/g, '$1 ').trim()}</code>
        </p>
        <CodeField />
      </>
    ),
    run: async ({ totp: code }) => {
      await call('PUT', 'session/totp', { body: { secret, code } });
      toast('From now on signing in needs a code.', { kind: 'good' });
      done();
    },
  });

const askOn = (done: () => void): void =>
  ask({
    title: 'Set up a second factor',
    confirm: 'Go on',
    body: (
      <>
        <p>
          Besides the password, signing in then needs six digits that an app on your phone shows.
        </p>
        <PasswordAgain />
      </>
    ),
    run: async ({ password }) => {
      askCode(await call<Secret>('POST', 'session/totp', { body: proofOf(password) }), done);
    },
  });

const askOff = (done: () => void): void =>
  ask({
    title: 'Switch the second factor off',
    confirm: 'Switch it off',
    isDangerous: true,
    body: (
      <>
        <p>The password alone is enough again.</p>
        <PasswordAgain />
      </>
    ),
    run: async ({ password }) => {
      await call('DELETE', 'session/totp', { body: proofOf(password) });
      toast('The second factor is off.', { kind: 'good' });
      done();
    },
  });

export function SecondFactor() {
  const isOn = me.value?.hasSecondFactor;
  return (
    <section aria-label="Second factor">
      <h2>Second factor</h2>
      <div class="card pad row">
        <p>
          {isOn === true && <strong class="good-text">On. </strong>}
          {isOn === false && <strong class="warn-text">Off. </strong>}
          Six digits of an authenticator app, asked for at every sign-in beside the password.
        </p>
        <div class="buttons">
          {isOn === true && (
            <button type="button" class="quiet danger-text" onClick={() => askOff(reloadMe)}>
              Switch off
            </button>
          )}
          {isOn === false && (
            <button type="button" onClick={() => askOn(reloadMe)}>
              Set up
            </button>
          )}
        </div>
      </div>
    </section>
  );
}
