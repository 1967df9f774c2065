/** What was asked for and what became of it, live. */
import { signal } from '@preact/signals';
import { CommandList } from '../parts/command-list.tsx';
import { mayAct } from '../session.ts';

const state = signal('');
const kind = signal('');

const states = [
  'PLANNED',
  'QUEUED',
  'OFFERED',
  'GRANTED',
  'RUNNING',
  'VERIFYING',
  'CANCELLING',
  'INDETERMINATE',
  'SUCCEEDED',
  'FAILED',
  'REJECTED',
  'CANCELLED',
  'EXPIRED',
];
const kinds = [
  'node.shutdown',
  'node.wake',
  'node.reboot',
  'node.drain',
  'node.restore',
  'guest.create',
  'guest.delete',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.snapshot',
  'guest.migrate',
  'guest.scale',
];

const Choice = ({
  label,
  value,
  options,
  set,
}: {
  label: string;
  value: string;
  options: readonly string[];
  set: (value: string) => void;
}) => (
  <select aria-label={label} value={value} onChange={(event) => set(event.currentTarget.value)}>
    <option value="">every {label.toLowerCase()}</option>
    {options.map((option) => (
      <option key={option} value={option}>
        {option.toLowerCase()}
      </option>
    ))}
  </select>
);

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
        options={states}
        set={(value) => (state.value = value)}
      />
      <Choice
        label="Kind"
        value={kind.value}
        options={kinds}
        set={(value) => (kind.value = value)}
      />
    </div>
    <CommandList title="Commands" filter={{ state: state.value, kind: kind.value }} />
  </>
);
