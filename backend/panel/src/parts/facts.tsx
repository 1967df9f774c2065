/** Numbers that took part in a verdict: by name, with their unit. */
import type { Fact } from '../../../decide/plan.ts';
import { bytes, duration, percent, plain } from '../format.ts';

function factText({ value, unit }: Fact): string {
  if (value === null) return 'not known';
  if (typeof value !== 'number') return String(value);
  if (unit === 'ratio') return percent(value);
  if (unit === 'bytes') return bytes(value);
  if (unit === 'milliseconds' || unit === 'ms') return duration(value);
  return `${plain(value)}${unit === undefined || unit === 'count' ? '' : ` ${unit}`}`;
}

/** `guestMemoryBytes` -> `guest memory`: the unit stands with the value. */
const factName = (name: string): string =>
  name
    .replace(/(?<=.)(Ratio|Bytes|Ms|BytesPerSecond)$/, '')
    .replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

export const Facts = ({ facts }: { facts: readonly Fact[] }) => (
  <dl class="facts">
    {facts.map((fact) => (
      <div key={fact.name}>
        <dt>{factName(fact.name)}</dt>
        <dd>{factText(fact)}</dd>
      </div>
    ))}
  </dl>
);

export const isFact = (value: unknown): value is Fact =>
  typeof value === 'object' && value !== null && 'name' in value && 'value' in value;
