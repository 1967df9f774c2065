/** Which happenings are told at all: one switch each, on unless somebody switched it off. */
import type { NotifySettings } from '../../../../notify/settings.ts';

type Rule = keyof NotifySettings['rules'];

const words: Record<Rule, string> = {
  'wake-failed': 'A node did not wake',
  indeterminate: 'Nobody knows for 5 minutes how a command ended',
  hold: 'HOLD stands for a day',
  'n-1': 'The rest could not carry the loss of one node',
  'node-lost': 'A node is lost',
  'guest-dead': 'A guest died and does not come back',
  certificate: 'A certificate runs out',
  'wake-proof': 'A wake proof runs out',
  approval: 'Something waits for your approval',
  backup: 'A backup failed or is overdue',
  morning: 'The morning line',
};
const rules = Object.keys(words) as Rule[];

export const rulesOf = (form: FormData): NotifySettings['rules'] =>
  Object.fromEntries(rules.map((rule) => [rule, form.has(`rule-${rule}`)]));

export const Rules = ({ of }: { of: NotifySettings['rules'] }) => (
  <fieldset class="card pad rules">
    <legend>What is told</legend>
    {rules.map((rule) => (
      <label key={rule} class="check">
        <input name={`rule-${rule}`} type="checkbox" defaultChecked={of[rule] !== false} />{' '}
        {words[rule]}
      </label>
    ))}
  </fieldset>
);
