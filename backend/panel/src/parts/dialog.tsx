/**
 * The browser's own modal dialog. One is open at a time; what it asks is a form, so that Enter
 * sends and Escape leaves, and a problem of the server stands inside it.
 */
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Problem, problemOf } from '../api.ts';
import { ProblemNote } from './feedback.tsx';

export type Values = Record<string, string>;

export type Question = {
  title: string;
  /** What will happen, in words. */
  body: ComponentChildren;
  confirm: string;
  isDangerous?: boolean;
  /** Sends it; what it throws is shown and the dialog stays. */
  run: (values: Values) => Promise<void>;
};

const asked = signal<Question | null>(null);

export const ask = (question: Question): void => void (asked.value = question);

function Asking({ question }: { question: Question }) {
  const element = useRef<HTMLDialogElement>(null);
  const [problem, setProblem] = useState<Problem>();
  const [isBusy, setBusy] = useState(false);
  useEffect(() => element.current?.showModal(), []);

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setProblem(undefined);
    try {
      const form = new FormData(event.currentTarget as HTMLFormElement);
      await question.run(Object.fromEntries(form) as Values);
      // Its work may have asked the next question already.
      if (asked.value === question) asked.value = null;
    } catch (error) {
      setProblem(problemOf(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <dialog ref={element} onClose={() => (asked.value = null)} aria-labelledby="dialog-title">
      <form onSubmit={(event) => void submit(event)}>
        <h2 id="dialog-title">{question.title}</h2>
        {question.body}
        {problem && <ProblemNote problem={problem} />}
        <div class="buttons">
          <button type="button" class="quiet" onClick={() => element.current?.close()}>
            Leave it
          </button>
          <button type="submit" class={question.isDangerous ? 'danger' : ''} disabled={isBusy}>
            {isBusy ? 'Sending …' : question.confirm}
          </button>
        </div>
      </form>
    </dialog>
  );
}

export const Dialogs = () =>
  asked.value && <Asking key={asked.value.title} question={asked.value} />;

export const Field = ({
  label,
  hint,
  children,
}: {
  label: string;
  hint?: string;
  children: ComponentChildren;
}) => (
  <label class="field">
    <span>{label}</span>
    {children}
    {hint && <small class="faint">{hint}</small>}
  </label>
);

/** The word that says somebody means it, an id of ours: of what it may hold, only a dot is special. */
export const TypedWord = ({ word }: { word: string }) => (
  <Field label={`Type ${word}`}>
    <input
      name="confirm"
      required
      pattern={word.replaceAll('.', String.raw`\.`)}
      title={word}
      autocomplete="off"
      autocapitalize="none"
    />
  </Field>
);

/** Some acts want the password again; within five minutes of the last time the server does not. */
export const PasswordAgain = () => (
  <Field label="Your password" hint="Leave it empty within 5 minutes of the last time.">
    <input name="password" type="password" autocomplete="current-password" />
  </Field>
);
