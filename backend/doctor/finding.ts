/** What the doctor says: each thing it looked at, and for what is wrong the line that mends it. */

export type Finding = {
  check: 'settings' | 'host' | 'broker' | 'stores' | 'clock' | 'fleet' | 'wake';
  /** `note`: it works, with less. */
  state: 'fine' | 'note' | 'wrong';
  subject: string;
  detail: string;
  /** Lines to type, on the machine of the server unless they say otherwise. */
  fix: readonly string[];
};

type Said = Omit<Finding, 'state' | 'fix'>;

export const fine = (said: Said): Finding => ({ ...said, state: 'fine', fix: [] });
export const note = (said: Said, ...fix: string[]): Finding => ({ ...said, state: 'note', fix });
export const wrong = (said: Said, ...fix: string[]): Finding => ({ ...said, state: 'wrong', fix });

const marks = { fine: 'ok   ', note: 'note ', wrong: 'WRONG' } as const;

export function textOf(findings: readonly Finding[]): string {
  const isFine = findings.every(({ state }) => state !== 'wrong');
  return [
    ...findings.flatMap(({ check, state, subject, detail, fix }) => [
      `${marks[state]} ${check.padEnd(8)} ${subject}: ${detail}`,
      ...fix.map((line) => `        ${line}`),
    ]),
    isFine ? 'nothing is wrong' : 'mend what is WRONG, then run this again',
  ].join('\n');
}
