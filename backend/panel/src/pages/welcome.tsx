/** The first account, or signing in. Which of the two, the server says. */
import { useEffect, useState } from 'preact/hooks';
import type { Ways } from '../../../http/routes/joining.ts';
import { call, endedBecause, get, keepToken } from '../api.ts';
import { Field } from '../parts/dialog.tsx';
import { Answer, ProblemNote } from '../parts/feedback.tsx';
import { useForm } from '../parts/form.ts';
import { useQuery } from '../query.ts';
import { CodeField } from './settings/second-factor.tsx';

async function signIn(values: Record<string, string>): Promise<void> {
  const { username, password, remember, totp } = values;
  const body = { username, password, ...(totp === undefined ? {} : { totp }) };
  const { token } = await call<{ token: string }>('POST', 'session', { body });
  keepToken(token, { isRemembered: remember === 'on' });
}

async function setUp(values: Record<string, string>): Promise<void> {
  const { token = '', username, password } = values;
  await call('POST', 'setup', { body: { token: token.trim(), username, password } });
  await signIn(values);
  const { demo } = await get<Ways>('joining').catch(() => ({ demo: 'none' }));
  // Whoever looks around in the demo has machines to look at already, and whoever has gone on
  // meanwhile is not called back.
  const isAtFleet = ['', '#', '#/'].includes(window.location.hash);
  if (demo !== 'running' && isAtFleet) window.location.hash = '/begin';
}

/** The start line's own address brings the token along; it does not stay in the address bar. */
const tokenOfAddress = /^#setup=([0-9a-f]{16,})$/.exec(window.location.hash)?.[1];
if (tokenOfAddress !== undefined) window.history.replaceState(null, '', './');

const Username = () => (
  <Field label="User name">
    <input name="username" required autocomplete="username" autocapitalize="none" />
  </Field>
);

const Remember = () => (
  <label class="check">
    <input name="remember" type="checkbox" /> Keep me signed in on this device for a day
  </label>
);

function SetUp() {
  const { problem, isBusy, onSubmit } = useForm(setUp);
  return (
    <form class="card" onSubmit={onSubmit}>
      <h1>Create the first account</h1>
      <p class="faint">The server printed the set-up token when it started.</p>
      {problem && <ProblemNote problem={problem} />}
      <Field label="Set-up token">
        <input
          name="token"
          class="mono"
          required
          defaultValue={tokenOfAddress}
          autocomplete="off"
          spellcheck={false}
        />
      </Field>
      <Username />
      <Field label="Password, at least 12 characters">
        <input
          name="password"
          type="password"
          required
          minLength={12}
          autocomplete="new-password"
        />
      </Field>
      <Remember />
      <button type="submit" disabled={isBusy}>
        Create account
      </button>
    </form>
  );
}

function SignIn() {
  const { problem, isBusy, onSubmit } = useForm(signIn);
  // Once asked for, the code stays a field: what else was typed is still there.
  const [needsCode, setNeedsCode] = useState(false);
  const isAsked = problem?.code === 'KR_TOTP';
  useEffect(() => {
    if (isAsked) setNeedsCode(true);
  }, [isAsked]);
  return (
    <form class="card" onSubmit={onSubmit}>
      <h1>Sign in</h1>
      {endedBecause.value && !problem && <p class="notice">{endedBecause.value}</p>}
      {problem && <ProblemNote problem={problem} />}
      <Username />
      <Field label="Password">
        <input name="password" type="password" required autocomplete="current-password" />
      </Field>
      {needsCode && <CodeField label="Six digits of your authenticator app" />}
      <Remember />
      <button type="submit" disabled={isBusy}>
        Sign in
      </button>
    </form>
  );
}

export function Welcome() {
  const setup = useQuery<{ isRequired: boolean }>('setup', { everyMs: 5_000 });
  return (
    <main class="welcome">
      <p class="brand">
        <img src="./icon.svg" alt="" width="34" height="34" /> Kernreaktor
      </p>
      <Answer of={setup} what="the server">
        {({ isRequired }) => (isRequired ? <SetUp /> : <SignIn />)}
      </Answer>
      <p class="faint">First observe, then act, then scale.</p>
    </main>
  );
}
