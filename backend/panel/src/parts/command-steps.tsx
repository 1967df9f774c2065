/** What a command went through and printed, and stating what became of one in doubt. */
import type { CommandDetail } from '../../../http/routes/commands.ts';
import { call } from '../api.ts';
import { duration, moment } from '../format.ts';
import { commandTone } from './command-list.tsx';
import { ask, Field, PasswordAgain } from './dialog.tsx';
import { toast } from './feedback.tsx';

export const Steps = ({ history }: { history: CommandDetail['history'] }) => (
  <ol class="steps card pad">
    {history.map(({ state, at, actor, reason }, index) => {
      const before = history[index - 1];
      const tookMs = before ? Date.parse(at) - Date.parse(before.at) : 0;
      return (
        <li
          key={`${state}${at}`}
          class={index < history.length - 1 ? 'passed' : commandTone(state)}
        >
          <strong>{state.toLowerCase()}</strong>{' '}
          <span class="faint">
            <time dateTime={at}>{moment(at)}</time>
            {tookMs >= 1_000 && `, after ${duration(tookMs)}`}, {actor}
          </span>
          {reason && <p>{reason}</p>}
        </li>
      );
    })}
  </ol>
);

const stepTones = {
  waiting: 'faint',
  running: 'warn-text',
  done: 'good-text',
  failed: 'bad-text',
  'in-doubt': 'bad-text',
  skipped: 'faint',
} as const;

/** Of a start whose node sleeps: what is done for it, in order. */
export const Plan = ({ of: { id, steps = [] } }: { of: CommandDetail }) =>
  steps.length === 0 ? null : (
    <>
      <h2>Plan</h2>
      <ol class="steps card pad">
        {steps.map(({ step, node, command, state, reason }) => (
          <li key={`${step}${command}`} class={stepTones[state]}>
            <strong>
              {step} {node}
            </strong>{' '}
            <span class="faint">{state.replace('-', ' ')}</span>{' '}
            {command !== null && command !== id && (
              <a href={`#/activity/${command}`}>its command</a>
            )}
            {reason && <p>{reason}</p>}
          </li>
        ))}
      </ol>
    </>
  );

/** The end of what its program wrote, under a heading of its own where that is given. */
export function Output({ result, title }: { result: unknown; title?: string }) {
  const output =
    typeof result === 'object' && result !== null && 'output' in result ? result.output : '';
  if (typeof output !== 'string' || output.trim() === '') return null;
  return (
    <>
      {title && <h2>{title}</h2>}
      <pre class="output card">{output}</pre>
    </>
  );
}

export const Resolve = ({ command, reload }: { command: CommandDetail; reload: () => void }) => (
  <button
    type="button"
    onClick={() =>
      ask({
        title: `What became of ${command.kind} of ${command.target.id}?`,
        confirm: 'State it',
        isDangerous: true,
        body: (
          <>
            <p>
              Nobody could tell whether it happened, and it is never repeated by itself. Look at the
              machine first; what you state here is kept with your name.
            </p>
            <Field label="It">
              <select name="outcome">
                <option value="succeeded">happened</option>
                <option value="failed">did not happen</option>
              </select>
            </Field>
            <Field label="What you saw">
              <input name="note" required maxLength={512} autocomplete="off" />
            </Field>
            <PasswordAgain />
          </>
        ),
        run: async ({ outcome, note, password = '' }) => {
          await call('POST', `commands/${command.id}/resolve`, {
            body: { outcome, note, ...(password === '' ? {} : { password }) },
          });
          toast('Noted.', { kind: 'good' });
          reload();
        },
      })
    }
  >
    Resolve
  </button>
);
