import { array, assert as holds, constantFrom, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CommandKind,
  type CommandState,
  commandStates,
  isTerminal,
} from '../../../broker/contract/command.ts';
import {
  activeStates,
  cancellableStates,
  effectTimeoutMs,
  grantedTimeoutMs,
  isDestructive,
  isPowerOff,
  mayFollow,
  offerTtlMs,
  openStates,
  releasesTarget,
  silenceTimeoutMs,
  timeoutMs,
  transitionOf,
  transitions,
  type Trigger,
  triggers,
} from '../../../backend/act/lifecycle.ts';

/** SAFETY 3.2 again, written from the page and not from the code. */
const expected: Partial<Record<CommandState, Partial<Record<Trigger, CommandState>>>> = {
  PLANNED: { queue: 'QUEUED', reject: 'REJECTED', cancel: 'CANCELLED', expire: 'EXPIRED' },
  QUEUED: {
    reject: 'REJECTED',
    cancel: 'CANCELLED',
    offer: 'OFFERED',
    expire: 'EXPIRED',
    grant: 'GRANTED',
  },
  OFFERED: { reject: 'REJECTED', cancel: 'CANCELLED', expire: 'EXPIRED', grant: 'GRANTED' },
  GRANTED: {
    regrant: 'GRANTED',
    lose: 'INDETERMINATE',
    start: 'RUNNING',
    refuse: 'REJECTED',
    succeed: 'SUCCEEDED',
    fail: 'FAILED',
  },
  RUNNING: {
    lose: 'INDETERMINATE',
    finish: 'VERIFYING',
    succeed: 'SUCCEEDED',
    fail: 'FAILED',
    abort: 'CANCELLING',
  },
  VERIFYING: { lose: 'INDETERMINATE', succeed: 'SUCCEEDED', fail: 'FAILED' },
  CANCELLING: { finish: 'VERIFYING', lose: 'INDETERMINATE' },
  INDETERMINATE: {
    probe: 'INDETERMINATE',
    succeed: 'SUCCEEDED',
    fail: 'FAILED',
    'resolve-succeeded': 'SUCCEEDED',
    'resolve-failed': 'FAILED',
  },
};

const anyState = constantFrom(...commandStates);
const anyTrigger = constantFrom(...triggers);
const anyKind = constantFrom(...CommandKind.options);

describe('the transition table', () => {
  for (const state of commandStates) {
    it.each(triggers)(`from ${state}, %s goes where the page says or nowhere`, (trigger) => {
      expect(transitionOf(state, trigger)?.to).toBe(expected[state]?.[trigger]);
    });
  }

  it('names each pair of state and trigger at most once', () => {
    const pairs = transitions.map(({ from, trigger }) => `${from} ${trigger}`);
    expect(new Set(pairs).size).toBe(pairs.length);
  });

  it('holds every row of the page from t2 to t16', () => {
    const ids = new Set(transitions.map(({ id }) => id));
    for (let row = 2; row <= 16; row += 1) expect(ids).toContain(`t${row}`);
    expect(ids).toContain("t7'");
  });

  it('never leaves a terminal state, whatever is triggered in whatever order', () => {
    holds(
      property(anyState, array(anyTrigger, { maxLength: 40 }), (start, inputs) => {
        let state: CommandState = start;
        let isHeld = true;
        for (const trigger of inputs) {
          const next = transitionOf(state, trigger)?.to ?? state;
          isHeld &&= isTerminal(state) ? next === state : next === state || mayFollow(state, next);
          state = next;
        }
        expect(isHeld).toBe(true);
      }),
    );
  });

  it('cannot reach a start except through GRANTED, nor REJECTED or CANCELLED after one', () => {
    const into = (to: CommandState) => transitions.filter((row) => row.to === to);
    expect(into('RUNNING').map(({ from }) => from)).toEqual(['GRANTED']);
    for (const end of ['CANCELLED', 'EXPIRED'] as const) {
      for (const { from } of into(end)) expect(cancellableStates).toContain(from);
    }
    expect(into('REJECTED').map(({ from }) => from)).not.toContain('RUNNING');
  });

  it('calls every state open or terminal, and counts every active one as open', () => {
    for (const state of commandStates) expect(openStates.includes(state)).toBe(!isTerminal(state));
    for (const state of activeStates) expect(openStates).toContain(state);
  });
});

describe('targets', () => {
  it('are kept while an effect may exist, except by uncertain repeatable kinds', () => {
    holds(
      property(anyKind, anyState, (kind, state) => {
        const isRepeatable = ['node.wake', 'guest.start', 'guest.stop', 'guest.scale'].includes(
          kind,
        );
        const keeps = ['GRANTED', 'RUNNING', 'VERIFYING', 'CANCELLING'].includes(state);
        const isUncertainOnce = state === 'INDETERMINATE' && !isRepeatable;
        expect(releasesTarget(kind, state)).toBe(!(keeps || isUncertainOnce));
      }),
    );
  });
});

describe('time', () => {
  it('is 60 s for power and 5 min for other offers', () => {
    for (const kind of CommandKind.options) {
      const isPower = ['node.shutdown', 'node.reboot', 'node.wake'].includes(kind);
      expect(offerTtlMs(kind)).toBe(isPower ? 60_000 : 300_000);
    }
  });

  it('is 30 s after a grant and three heartbeats while running', () => {
    expect(timeoutMs('GRANTED', 1)).toBe(grantedTimeoutMs);
    expect(grantedTimeoutMs).toBe(30_000);
    expect(timeoutMs('RUNNING', 1)).toBe(silenceTimeoutMs);
    expect(silenceTimeoutMs).toBe(30_000);
  });

  it('is none of its own before the grant and after the end', () => {
    for (const state of commandStates) {
      const isTimed = activeStates.includes(state);
      expect(timeoutMs(state, 7) !== null).toBe(isTimed);
    }
    expect(timeoutMs('VERIFYING', 7)).toBe(7);
  });

  it('for a migration is three times the estimate within its bounds, for a stop what it asks', () => {
    const none = { stopTimeoutMs: null, migrateEstimateMs: null };
    const ofMove = (migrateEstimateMs: number, isMeasured = true): number =>
      effectTimeoutMs('guest.migrate', { ...none, migrateEstimateMs, isMeasured });
    expect(ofMove(200_000)).toBe(600_000);
    expect(ofMove(1)).toBe(300_000);
    expect(ofMove(9e9)).toBe(24 * 3_600_000);
    // What was only assumed lengthens the usual time and never shortens it.
    expect(ofMove(1, false)).toBe(900_000);
    expect(ofMove(2_000_000, false)).toBe(6_000_000);
    expect(effectTimeoutMs('guest.migrate', none)).toBe(900_000);
    expect(effectTimeoutMs('guest.migrate', { ...none, isMeasured: true })).toBe(900_000);
    expect(effectTimeoutMs('guest.stop', { ...none, stopTimeoutMs: 600_000 })).toBe(720_000);
    expect(effectTimeoutMs('guest.stop', none)).toBe(300_000);
    expect(effectTimeoutMs('node.shutdown', none)).toBe(900_000);
  });
});

describe('kinds', () => {
  it('that take a node away are destructive, and a wake never is', () => {
    expect(CommandKind.options.filter(isPowerOff).every(isDestructive)).toBe(true);
    expect(isDestructive('node.wake')).toBe(false);
    expect(CommandKind.options.filter(isPowerOff)).toEqual(['node.shutdown', 'node.reboot']);
  });
});
