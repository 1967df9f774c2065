/** Commands, newest first, asked again whenever the stream tells of one. */
import type { CommandView } from '../../../http/routes/commands.ts';
import { type Page, query } from '../api.ts';
import { moment } from '../format.ts';
import { lastCommand } from '../live.ts';
import { useQuery } from '../query.ts';
import { useEffect } from 'preact/hooks';
import { Answer } from './feedback.tsx';

const bad = new Set(['FAILED', 'REJECTED', 'INDETERMINATE', 'EXPIRED']);
const ended = new Set(['SUCCEEDED', 'FAILED', 'REJECTED', 'CANCELLED', 'EXPIRED']);

export const commandTone = (state: string): string => {
  if (state === 'SUCCEEDED') return 'good-text';
  if (bad.has(state)) return 'bad-text';
  return ended.has(state) ? 'faint' : 'warn-text';
};

export const hasEnded = (state: string): boolean => ended.has(state);

export const CommandState = ({ state }: { state: string }) => (
  <span class={`command-state ${commandTone(state)}`}>{state.toLowerCase()}</span>
);

const CommandRow = ({ command }: { command: CommandView }) => (
  <tr>
    <td class="nowrap">
      <time dateTime={command.plannedAt}>{moment(command.plannedAt)}</time>
    </td>
    <th scope="row">
      <a href={`#/activity/${command.id}`}>{command.kind}</a> <span>{command.target.id}</span>{' '}
      <span class="faint">{command.cluster}</span>
    </th>
    <td>
      <CommandState state={command.state} />
    </td>
    <td class="wrap">{command.stateReason ?? command.reason ?? ''}</td>
    <td class="faint">{command.actor}</td>
  </tr>
);

export type CommandFilter = { cluster?: string; target?: string; state?: string; kind?: string };

export function CommandList({ title, filter }: { title: string; filter: CommandFilter }) {
  const commands = useQuery<Page<CommandView>>(`commands?${query({ ...filter, limit: 50 })}`, {
    everyMs: 15_000,
  });
  const news = lastCommand.value;
  const { reload } = commands;
  useEffect(() => {
    if (news && (filter.cluster === undefined || filter.cluster === news.cluster)) reload();
  }, [news, filter.cluster, reload]);
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <Answer of={commands} what="commands">
        {({ items, total }) =>
          items.length === 0 ? (
            <p class="state-note">Nothing yet.</p>
          ) : (
            <>
              <div class="scroll card" tabIndex={0}>
                <table>
                  <thead>
                    <tr>
                      <th scope="col">When</th>
                      <th scope="col">What</th>
                      <th scope="col">State</th>
                      <th scope="col">Why</th>
                      <th scope="col">Who</th>
                    </tr>
                  </thead>
                  <tbody>
                    {items.map((command) => (
                      <CommandRow key={command.id} command={command} />
                    ))}
                  </tbody>
                </table>
              </div>
              {total > items.length && (
                <p class="faint">
                  The newest {items.length} of {total.toLocaleString()}.
                </p>
              )}
            </>
          )
        }
      </Answer>
    </section>
  );
}
