/**
 * SAFETY section 2 against the code and the page for users: every rule has a row that denies, or a
 * named reason why no row can, and docs/commands.md tells of each.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CommandKind } from '../../../broker/contract/command.ts';
import type { GuardFacts } from '../../../backend/act/guard.ts';
import { evaluate, guards } from '../../../backend/act/guards.ts';
import { facts, home, node, power } from './guard-samples.ts';

const root = join(import.meta.dirname, '..', '..', '..');

const rules = [
  'Q1 Q2 Q3 Q4 Q5 Q6 Q7',
  'V1 V2 V3 V4 V5 V6 V7 V8 V9 V10',
  'C1 C2 C3 S1 S2 S3',
  'W1 W2 W3 W4 W5 T1 T2 T3',
  'L1 K1 A1 B1 O1 N1',
].flatMap((line) => line.split(' '));

/** Rules that no row of the server can hold, each with the file that holds it instead, or why. */
const elsewhere: Record<string, { file: string } | { why: string }> = {
  V9: { file: 'backend/act/arrival.ts' },
  O1: { file: 'daemon/hypervisor/proxmox-api/driver.ts' },
  N1: { why: 'a node has one daemon in this version; ownership moves with daemon siblings' },
};

/** What a row says of itself, whether it denies or passes: asked of healthy and of empty facts. */
function rulesOfRows(): Set<string> {
  const found = new Set<string>();
  for (const kind of CommandKind.options) {
    const blind: Partial<GuardFacts> = {
      cluster: { ...home, simulated: false, hold: true, frozenUntilMs: 2e9 },
      executor: null,
      targetNode: null,
      guest: null,
      destination: null,
      migrations: null,
      windows: null,
      house: { residents: [], unknown: ['backend'] },
      power: power({ neighbours: [], proofs: [] }),
      awake: { expected: 5, stale: 5, unheard: 5 },
      listeningForMs: 0,
      pausedUntilMs: 2e9,
      executorMaxEpoch: 99,
    };
    const quarantined = node('n1', { quarantinedUntilMs: 2e9 });
    for (const given of [
      facts(kind, blind),
      facts(kind, { targetNode: quarantined, windows: null }),
    ]) {
      for (const { denial } of evaluate('GRANT', 1, given).verdicts) {
        if (denial) found.add(denial.rule);
      }
    }
  }
  return found;
}

const folder = join(root, 'backend', 'act');
const sourcesOfRows = (): string =>
  readdirSync(folder)
    .filter((name) => name.startsWith('guards') || name === 'limiter.ts')
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');

describe('SAFETY section 2', () => {
  const rows = sourcesOfRows();
  const page = readFileSync(join(root, 'docs', 'commands.md'), 'utf8');

  it.each(rules)('%s has a row in code, or a named reason why it has none', (rule) => {
    const hasRow = rows.includes(`'${rule}'`);
    const place = elsewhere[rule];
    expect({ rule, hasRow, isElsewhere: place !== undefined }).toEqual({
      rule,
      hasRow: place === undefined,
      isElsewhere: place !== undefined,
    });
    const said =
      place && ('file' in place ? readFileSync(join(root, place.file), 'utf8') : place.why);
    expect((said ?? rows).length).toBeGreaterThan(10);
  });

  it.each(rules)('%s is told to users with its way out', (rule) => {
    const line = page.split('\n').find((text) => text.startsWith(`| ${rule} |`));
    expect(line).toBeDefined();
    expect(line?.split('|')[2]?.trim().length).toBeGreaterThan(10);
  });

  it('is told to users with every code that a row or the limiter may answer', () => {
    const codes = new Set([...rows.matchAll(/'(KR_[A-Z_]+)'/g)].map(([, code]) => code ?? ''));
    expect(codes.size).toBeGreaterThan(50);
    expect([...codes].filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
  });

  it('is denied by a row for every rule when nothing is known and everything stands against it', () => {
    const found = rulesOfRows();
    // These need a fact to be bad rather than missing; guards-table.test.ts denies each of them.
    const needFacts = ['Q2', 'Q3', 'Q5', 'V2', 'V10', 'S1', 'S2', 'S3', 'V5', 'V6', 'W5'];
    const expected = rules.filter((rule) => !(rule in elsewhere) && !needFacts.includes(rule));
    expect(expected.filter((rule) => !found.has(rule))).toEqual([]);
  });

  it('knows every rule that a row names', () => {
    const named = new Set([...rows.matchAll(/'([QVCSWTLKABON]\d{1,2})'/g)].map(([, rule]) => rule));
    expect([...named].filter((rule) => !rules.includes(rule ?? ''))).toEqual([]);
    expect(guards.length).toBeGreaterThan(40);
  });
});
