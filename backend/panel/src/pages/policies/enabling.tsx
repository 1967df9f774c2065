/** Keeping a text as a policy, and letting a cluster follow it, each said in words before it is done. */
import { signal } from '@preact/signals';
import type { PolicyCheck } from '../../../../http/routes/policies.ts';
import { call } from '../../api.ts';
import { counted } from '../../format.ts';
import { ask, Field } from '../../parts/dialog.tsx';
import { toast } from '../../parts/feedback.tsx';

export type Differences = NonNullable<PolicyCheck['differences']>;

/** What was tested last, by the text itself, so that enabling can say whether this was. */
const testedText = signal('');
export const setTested = (yaml: string): void => void (testedText.value = yaml);

export type Enabling = {
  name: string;
  isNew: boolean;
  yaml: string;
  isStored: boolean;
  cluster: string;
  differences: Differences | null;
  done: (name: string) => void;
};

const NameField = () => (
  <Field label="Name" hint="Lower-case letters, digits and hyphens">
    <input name="name" required pattern="[a-z0-9][a-z0-9\-]{0,62}" autocomplete="off" />
  </Field>
);

async function store(name: string, yaml: string): Promise<void> {
  await call('POST', 'policies', { body: { name, yaml } });
}

/** A component of its own, so that it follows a backtest that ends while the dialog is open. */
const Tested = ({ yaml }: { yaml: string }) => (
  <span>
    {testedText.value === yaml
      ? 'It was backtested as it stands.'
      : 'It was not backtested as it stands.'}
  </span>
);

export const askStore = ({ name, isNew, yaml, done }: Enabling): void =>
  ask({
    title: isNew ? 'Keep as a policy' : `Keep as a new version of ${name}`,
    confirm: 'Keep it',
    body: (
      <>
        <p>No cluster follows it by that; what follows an earlier version stays with that one.</p>
        {isNew && <NameField />}
      </>
    ),
    run: async ({ name: given = name }) => {
      await store(given, yaml);
      toast(`${given} is kept.`, { kind: 'good' });
      done(given);
    },
  });

export const askEnable = (of: Enabling): void =>
  ask({
    title: `${of.cluster} follows ${of.isNew ? 'this' : of.name} from now on`,
    confirm: 'Enable',
    body: (
      <>
        <p>
          From the next decision on.{' '}
          {of.differences && `It changes ${counted(of.differences.length, 'value')}. `}
          <Tested yaml={of.yaml} />
        </p>
        {of.isNew && <NameField />}
      </>
    ),
    run: async ({ name = of.name }) => {
      if (!of.isStored) await store(name, of.yaml);
      await call('PUT', `clusters/${of.cluster}/policy`, { body: { policy: name } });
      toast(`${of.cluster} follows ${name}.`, { kind: 'good' });
      of.done(name);
    },
  });
