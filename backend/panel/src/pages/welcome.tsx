/** The first account, or signing in. Which of the two, the server says. */
import { useState } from 'preact/hooks';
import { call, endedBecause, keepToken, type Problem, problemOf } from '../api.ts';
import { Field } from '../parts/dialog.tsx';
import { Answer, ProblemNote } from '../parts/feedback.tsx';
import { useQuery } from '../query.ts';

async function signIn(values: Record<string, string>): Promise<void> {
  const { username, password, remember } = values;
  const body = { username, password };
  const { token } = await call<{ token: string }>('POST', 'session', { body });
  keepToken(token, { isRemembered: remember === 'on' });
}

async function setUp(values: Record<string, string>): Promise<void> {
  const { token = '', username, password } = values;
  await call('POST', 'setup', { body: { token: token.trim(), username, password } });
  await signIn(values);
}

function useForm(run: (values: Record<string, string>) => Promise<void>) {
  const [problem, setProblem] = useState<Problem>();
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (isBusy) return;
    const form = event.currentTarget as HTMLFormElement;
    setBusy(true);
    setProblem(undefined);
    try {
      await run(Object.fromEntries(new FormData(form)) as Record<string, string>);
    } catch (error) {
      const found = problemOf(error);
      setProblem(found);
      const field = form.elements.namedItem(found.field ?? '');
      if (field instanceof HTMLInputElement) field.focus();
    } finally {
      setBusy(false);
    }
  };
  return { problem, isBusy, onSubmit: (event: SubmitEvent) => void submit(event) };
}

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
        <input name="token" class="mono" required autocomplete="off" spellcheck={false} />
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
  return (
    <form class="card" onSubmit={onSubmit}>
      <h1>Sign in</h1>
      {endedBecause.value && !problem && <p class="notice">{endedBecause.value}</p>}
      {problem && <ProblemNote problem={problem} />}
      <Username />
      <Field label="Password">
        <input name="password" type="password" required autocomplete="current-password" />
      </Field>
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
