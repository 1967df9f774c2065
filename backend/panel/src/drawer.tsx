/**
 * The newest commands beside any page: what is under way, its steps and what it printed, live. It
 * lies over the page without shutting it off; Escape closes it.
 */
import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { CommandDetail, CommandView } from '../../http/routes/commands.ts';
import type { Page } from './api.ts';
import { moment } from './format.ts';
import { CommandState, hasEnded } from './parts/command-list.tsx';
import { Output, Resolve, Steps } from './parts/command-steps.tsx';
import { Answer } from './parts/feedback.tsx';
import { useLive } from './query.ts';
import { isAdmin } from './session.ts';

const isOpen = signal(false);
const shownMax = 20;

function Inside({ id }: { id: string }) {
  const command = useLive<CommandDetail>(`commands/${id}`, id);
  return (
    <Answer of={command} what="its steps">
      {(data) => (
        <>
          <Steps history={data.history} />
          <Output result={data.result} />
          <p class="buttons start">
            {data.state === 'INDETERMINATE' && isAdmin.value && (
              <Resolve command={data} reload={command.reload} />
            )}
            <a href={`#/activity/${id}`}>All of it</a>
          </p>
        </>
      )}
    </Answer>
  );
}

function Item({ command }: { command: CommandView }) {
  const isUnderWay = !hasEnded(command.state);
  const [isShown, setShown] = useState(isUnderWay);
  return (
    <li class="card">
      <details open={isShown} onToggle={(event) => setShown(event.currentTarget.open)}>
        <summary>
          <span>
            <strong>{command.kind}</strong> {command.target.id}{' '}
            <span class="faint">
              {command.cluster}, {moment(command.plannedAt)}
            </span>
          </span>
          <CommandState state={command.state} />
        </summary>
        {isShown && <Inside id={command.id} />}
      </details>
    </li>
  );
}

function Opened() {
  const commands = useLive<Page<CommandView>>(`commands?limit=${shownMax}`);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    heading.current?.focus();
    const close = ({ key, target }: KeyboardEvent): void => {
      const isInDialog = target instanceof Element && target.closest('dialog') !== null;
      if (key === 'Escape' && !isInDialog) isOpen.value = false;
    };
    document.addEventListener('keydown', close);
    return () => {
      document.removeEventListener('keydown', close);
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <aside class="drawer" aria-label="Newest commands">
      <div class="heading">
        <h2 ref={heading} tabIndex={-1}>
          Newest commands
        </h2>
        <span class="grow" />
        <button
          type="button"
          class="quiet small"
          aria-label="Close the newest commands"
          onClick={() => (isOpen.value = false)}
        >
          ✕
        </button>
      </div>
      <Answer of={commands} what="commands">
        {({ items }) =>
          items.length === 0 ? (
            <p class="state-note">Nothing was asked for yet.</p>
          ) : (
            <ol class="plain-list">
              {items.map((command) => (
                <Item key={command.id} command={command} />
              ))}
            </ol>
          )
        }
      </Answer>
    </aside>
  );
}

export const DrawerButton = () => (
  <button
    type="button"
    class="quiet drawer-button"
    aria-expanded={isOpen.value}
    aria-label="Newest commands"
    title="Newest commands"
    onClick={() => (isOpen.value = !isOpen.value)}
  >
    <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
      <path d="M4 5h16v14H4zM14 5v14M16.5 9h1.5M16.5 12h1.5" />
    </svg>
  </button>
);

export const Drawer = () => isOpen.value && <Opened />;
