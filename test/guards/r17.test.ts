/** The short form of R17, and proof that its proposals find planted errors. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { mutants } from './mutants.ts';
import { tallyOf } from './tally.ts';

const run = promisify(execFile);

describe('adversarial proposals, judged by the guards and by a second reading, should', () => {
  it('never be allowed by the guards and denied by the second reading', () => {
    const tally = tallyOf(7_000_000, 20_000);
    expect(tally.dangerous).toEqual({});
    expect(tally.proposals).toBe(20_000);
    expect(tally.allowedShare).toBeGreaterThan(0.3);
    expect(tally.allowedShare).toBeLessThan(0.7);
    for (const [proposed, allowed] of Object.values(tally.kinds)) {
      expect(allowed).toBeGreaterThan(0);
      expect(allowed).toBeLessThan(proposed);
    }
  }, 300_000);

  it('be the same for the same seeds', () => {
    expect(tallyOf(42, 300)).toEqual(tallyOf(42, 300));
  });

  it.each(['unarmed', 'old device'])(
    'find an error planted in a copy of the guards: %s',
    async (name) => {
      expect(mutants.filter((mutant) => mutant.name.includes(name))).toHaveLength(1);
      const script = join(import.meta.dirname, 'r17-mutants.ts');
      const args = [script, '--proposals', '8000', '--only', name];
      const { stdout } = await run(process.execPath, args);
      const figures = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as object;
      expect(figures).toMatchObject({ planted: 1, missed: [], isClean: true });
    },
    300_000,
  );
});
