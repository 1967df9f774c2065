/** A form that is sent once at a time; what the server says against it stands beside its fields. */
import { useState } from 'preact/hooks';
import { type Problem, problemOf } from '../api.ts';
import type { Values } from './dialog.tsx';

export function useForm(run: (values: Values) => Promise<void>) {
  const [problem, setProblem] = useState<Problem>();
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (isBusy) return;
    const form = event.currentTarget as HTMLFormElement;
    setBusy(true);
    setProblem(undefined);
    try {
      await run(Object.fromEntries(new FormData(form)) as Values);
    } catch (error) {
      const found = problemOf(error);
      setProblem(found);
      const field = form.elements.namedItem((found.field ?? '').split('.')[0] ?? '');
      if (field instanceof HTMLInputElement) field.focus();
    } finally {
      setBusy(false);
    }
  };
  return { problem, isBusy, onSubmit: (event: SubmitEvent) => void submit(event) };
}
