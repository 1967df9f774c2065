import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GrantContent, Offer } from '../../../broker/contract/command.ts';
import {
  type Command,
  type Input,
  type Moment,
  nextDueMs,
  type Step,
} from '../../../daemon/command/command-state.ts';
import { step } from '../../../daemon/command/machine.ts';
import { fromRecord, toRecord } from '../../../daemon/command/records.ts';

const commandId = '00000000-0000-7000-8000-000000000001';
const offer: Offer = {
  commandId,
  kind: 'guest.start',
  target: { kind: 'guest', id: '100' },
  args: {},
  generation: 1,
  epoch: 1,
  ttlMs: 30_000,
};
const { ttlMs: _, ...wanted } = offer;
const grantOf = (nonce: string): GrantContent => ({
  ...wanted,
  v: 1,
  type: 'grant',
  cluster: 'home',
  node: 'n1',
  nonce,
  simulated: false,
  timeoutMs: 1_000,
  timeScale: 1,
  policyHash: null,
});
const moment = (nowMs: number, nonce: string): Moment => ({
  commandId,
  node: 'n1',
  nowMs,
  ratio: 0.5,
  nonce,
  journalId: commandId,
  incarnation: 1,
});

const nonces = ['a', 'b', 'c'].map((letter) => letter.repeat(32));
const nonce = fc.constantFrom(...nonces);
const denial = { code: 'KR_HOLD', reason: 'held', wayOut: 'release' };
const outcome = { exitCode: 0, postcondition: true, detail: '', output: '' };
const probe = { commandId, kind: offer.kind, target: offer.target, args: {} };
const state = fc.constantFrom('absent' as const, 'OFFERED', 'GRANTED', 'RUNNING', 'FAILED');
const fixed: Input[] = [
  { type: 'offered', offer },
  { type: 'checked', denial: null, bootId: null },
  { type: 'checked', denial: null, bootId: null },
  { type: 'checked', denial, bootId: null },
  { type: 'handle', handle: 'UPID:1' },
  { type: 'ended', outcome },
  { type: 'probed', probe: { ...probe, role: 'executor' } },
  { type: 'probed', probe: { ...probe, role: 'witness' } },
  { type: 'observed', role: 'executor', postcondition: null, detail: '' },
  { type: 'observed', role: 'witness', postcondition: true, detail: '' },
  { type: 'online' },
  { type: 'due' },
];
const input: fc.Arbitrary<Input> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...fixed) },
  { weight: 3, arbitrary: nonce.map((one): Input => ({ type: 'granted', grant: grantOf(one) })) },
  { weight: 1, arbitrary: state.map((one): Input => ({ type: 'synced', state: one })) },
  {
    weight: 1,
    arbitrary: fc
      .record({ n: fc.nat(9), state: fc.constantFrom('RUNNING', 'CANCELLED' as const) })
      .map(({ n, state: now }): Input => {
        const verdict = { commandId, n: n + 1, state: now, reason: null } as const;
        return { type: 'verdict', verdict };
      }),
  },
);
const happening = fc.record({ input, waitMs: fc.nat(6_000), nonce, isCrash: fc.boolean() });

const order = ['witness', 'received', 'claiming', 'granted', 'started', 'finished', 'refused'];

/** What a transition must never do, by name. */
function wrongs(before: Command | undefined, { command, effects }: Step): string[] {
  const types = effects.map(({ type }) => type);
  const isStart = types.includes('perform');
  const isEnd = before?.phase === 'finished' || before?.phase === 'refused';
  const isNewGrant = command.phase === 'granted' && before?.phase !== 'granted';
  const isAnswer =
    isNewGrant && before?.phase === 'claiming' && before.nonce === command.grant.nonce;
  const wasStarted = before?.phase === 'started' || before?.phase === 'finished';
  const back = order.indexOf(command.phase) - order.indexOf(before?.phase ?? 'witness');
  const found = {
    'performs without a grant': isStart && before?.phase !== 'granted',
    'performs before the journal': isStart && types.indexOf('journal') !== 0,
    'takes a grant that answers no claim': isNewGrant && !isAnswer,
    'leaves an end': isEnd && command.phase !== before.phase,
    'buries what has started': command.phase === 'refused' && wasStarted,
    'goes back': back < 0,
    'counts back': command.n < (before?.n ?? 0),
  };
  return Object.entries(found).flatMap(([name, isFound]) => (isFound ? [name] : []));
}

describe('the command machine', () => {
  it('performs once at most, after the journal, and never leaves an end', () => {
    const phases = new Set<string>();
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60, size: 'max' }), (happenings) => {
        const found: string[] = [];
        let command: Command | undefined;
        let nowMs = 0;
        let performed = 0;
        for (const { input: one, waitMs, nonce: fresh, isCrash } of happenings) {
          nowMs += waitMs;
          const next = step(command, one, moment(nowMs, fresh));
          if (!next) continue;
          found.push(...wrongs(command, next));
          performed += next.effects.filter(({ type }) => type === 'perform').length;
          command = next.command;
          phases.add(command.phase);
          const isCrashNow = isCrash && one.type === 'due' && command.phase !== 'witness';
          if (isCrashNow) command = fromRecord(toRecord(command, 0), { nowMs, ratio: 0.5 });
        }
        expect(found).toEqual([]);
        expect(performed).toBeLessThanOrEqual(1);
      }),
      { numRuns: 3_000 },
    );
    expect([...phases].sort()).toEqual([...order].sort());
  });

  it('waits for nothing when there is nothing to wait for', () => {
    const refused = step(undefined, { type: 'synced', state: 'GRANTED' }, moment(0, 'a'));
    const settled =
      refused &&
      step(
        refused.command,
        { type: 'verdict', verdict: { commandId, n: 1, state: 'REJECTED', reason: null } },
        moment(1, 'a'),
      );
    expect(refused && nextDueMs(refused.command, true)).toBeGreaterThan(0);
    expect(refused && nextDueMs(refused.command, false)).toBeNull();
    expect(settled && nextDueMs(settled.command, true)).toBeNull();
  });

  it('gives an unknown id no meaning but where the server asks for it', () => {
    for (const one of fixed) {
      const next = step(undefined, one, moment(0, nonces[0] ?? ''));
      const expected = one.type === 'offered' || one.type === 'probed';
      expect({ [one.type]: next !== undefined }).toEqual({ [one.type]: expected });
    }
  });

  it('brings a started command back as started, and a claim only as an offer', () => {
    const at = moment(0, nonces[0] ?? '');
    const inputs: Input[] = [
      { type: 'offered', offer },
      { type: 'checked', denial: null, bootId: 'b' },
      { type: 'granted', grant: grantOf(nonces[0] ?? '') },
      { type: 'checked', denial: null, bootId: 'b' },
    ];
    let command: Command | undefined;
    const after = inputs.map((one) => {
      command = step(command, one, at)?.command;
      return command && fromRecord(toRecord(command, 0), at);
    });
    expect(after.map((one) => one?.phase)).toEqual(['received', 'received', 'received', 'started']);
    expect(after[1]).toMatchObject({ voidAtMs: null, unconfirmed: [] });
    expect(after[3]).toMatchObject({ bootId: 'b', handle: null });
  });
});
