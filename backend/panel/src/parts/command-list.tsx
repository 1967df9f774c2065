/** Commands, newest first, asked again whenever the stream tells of one. */
import type { CommandState as State } from '../../../../broker/contract/command.ts';
import type { CommandView } from '../../../http/routes/commands.ts';
import { type Page, query } from '../api.ts';
import { moment } from '../format.ts';
import { lastCommand } from '../live.ts';
import { useQuery } from '../query.ts';
import { useEffect } from 'preact/hooks';
import { Answer } from './feedback.tsx';
import { Newest, Table } from './table.tsx';

/** How each state looks, and whether anything still comes after it. */
const looks: Record<State, { tone: string; isEnd: boolean }> = {
  PLANNED: { tone: 'warn-text', isEnd: false },
  QUEUED: { tone: 'warn-text', isEnd: false },
  OFFERED: { tone: 'warn-text', isEnd: false },
  GRANTED: { tone: 'warn-text', isEnd: false },
  RUNNING: { tone: 'warn-text', isEnd: false },
  VERIFYING: { tone: 'warn-text', isEnd: false },
  CANCELLING: { tone: 'warn-text', isEnd: false },
  INDETERMINATE: { tone: 'bad-text', isEnd: false },
  SUCCEEDED: { tone: 'good-text', isEnd: true },
  FAILED: { tone: 'bad-text', isEnd: true },
  REJECTED: { tone: 'bad-text', isEnd: true },
  CANCELLED: { tone: 'faint', isEnd: true },
  EXPIRED: { tone: 'bad-text', isEnd: true },
};

export const commandStates = Object.keys(looks);
/** A state that only a newer server knows is taken for one under way. */
export const commandTone = (state: string): string => looks[state as State]?.tone ?? 'warn-text';
export const hasEnded = (state: string): boolean => looks[state as State]?.isEnd ?? false;

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
              <Table head={['When', 'What', 'State', 'Why', 'Who']}>
                {items.map((command) => (
                  <CommandRow key={command.id} command={command} />
                ))}
              </Table>
              <Newest shown={items.length} total={total} />
            </>
          )
        }
      </Answer>
    </section>
  );
}
