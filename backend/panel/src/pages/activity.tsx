/** What was asked for and what became of it, live. */
import { signal } from '@preact/signals';
import type { CommandKind } from '../../../../broker/contract/command.ts';
import { CommandList, commandStates } from '../parts/command-list.tsx';
import { Choice } from '../parts/filters.tsx';
import { mayAct } from '../session.ts';

const state = signal('');
const kind = signal('');

/** Every kind, as the compiler sees to. */
const kinds: Record<CommandKind, true> = {
  'node.shutdown': true,
  'node.wake': true,
  'node.reboot': true,
  'node.drain': true,
  'node.restore': true,
  'guest.create': true,
  'guest.delete': true,
  'guest.start': true,
  'guest.stop': true,
  'guest.restart': true,
  'guest.snapshot': true,
  'guest.migrate': true,
  'guest.scale': true,
};

const lower = (text: string): string => text.toLowerCase();

export const ActivityPage = () => (
  <>
    <div class="heading">
      <h1>Activity</h1>
      {mayAct.value && <a href="#/activity/audit">Audit log</a>}
    </div>
    <div class="filters" role="search">
      <Choice
        label="State"
        value={state.value}
        options={commandStates}
        textOf={lower}
        set={(value) => (state.value = value)}
      />
      <Choice
        label="Kind"
        value={kind.value}
        options={Object.keys(kinds)}
        textOf={lower}
        set={(value) => (kind.value = value)}
      />
    </div>
    <CommandList title="Commands" filter={{ state: state.value, kind: kind.value }} />
  </>
);
