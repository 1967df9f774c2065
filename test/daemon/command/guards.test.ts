import { describe, expect, it } from 'vitest';
import { commandArgs, type CommandKind, type Offer } from '../../../broker/contract/command.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { PolicyReading } from '../../../daemon/command/local-policy.ts';
import { type GuardFacts, guards, judge } from '../../../daemon/command/guards.ts';

const offer = (kind: CommandKind, more: Partial<Offer> = {}): Offer => ({
  commandId: '00000000-0000-7000-8000-000000000001',
  kind,
  target: kind.startsWith('node.') ? { kind: 'node', id: 'n1' } : { kind: 'guest', id: '100' },
  args: {},
  generation: 1,
  epoch: 4,
  ttlMs: 60_000,
  ...more,
});

const facts = (wanted: Offer, more: Partial<GuardFacts> = {}): GuardFacts => ({
  node: 'n1',
  wanted,
  grant: null,
  driver: {
    name: 'script',
    version: null,
    simulated: false,
    capabilities: Object.keys(commandArgs) as CommandKind[],
  },
  nodeFacts: NodeFacts.parse({}),
  runningGuests: 0,
  maxEpoch: 4,
  policy: { ok: true, policy: { allow: null, protected: false } },
  isHeldHere: false,
  isHeldByServer: false,
  isObserveOnly: false,
  wakers: 1,
  isTargetBusy: false,
  quarantined: null,
  hasReserve: true,
  ...more,
});

const granted = (wanted: Offer, simulated: boolean): Partial<GuardFacts> => ({
  grant: {
    ...wanted,
    v: 1,
    type: 'grant',
    cluster: 'home',
    node: 'n1',
    nonce: 'a'.repeat(32),
    simulated,
    timeoutMs: 1_000,
    timeScale: 1,
    policyHash: null,
  },
});

const shutdown = offer('node.shutdown');
const start = offer('guest.start');
const wake = offer('node.wake', { target: { kind: 'node', id: 'n9' } });
const protectedPolicy: PolicyReading = { ok: true, policy: { allow: null, protected: true } };
const narrowPolicy: PolicyReading = {
  ok: true,
  policy: { allow: ['guest.stop'], protected: false },
};

describe('node-local guards', () => {
  it.each<Offer>([start, shutdown, wake])('let a sound $kind pass', (wanted) => {
    expect(judge(facts(wanted))).toBeNull();
    expect(judge(facts(wanted, granted(wanted, false)))).toBeNull();
  });

  it.each<[string, string, Offer, Partial<GuardFacts>]>([
    ['local-hold', 'KR_HOLD', start, { isHeldHere: true }],
    ['local-hold', 'KR_HOLD', wake, { isHeldHere: true }],
    ['server-hold', 'KR_HOLD', start, { isHeldByServer: true }],
    ['observe-only', 'KR_OBSERVE_ONLY', wake, { isObserveOnly: true }],
    ['args', 'KR_ARGS', offer('guest.stop', { args: { forse: true } }), {}],
    ['args', 'KR_ARGS', offer('guest.migrate'), {}],
    ['args', 'KR_ARGS', offer('guest.scale', { args: { cpuCount: 0 } }), {}],
    ['target', 'KR_TARGET', offer('guest.start', { target: { kind: 'node', id: 'n1' } }), {}],
    ['target', 'KR_TARGET', offer('node.shutdown', { target: { kind: 'node', id: 'n2' } }), {}],
    ['target', 'KR_TARGET', offer('node.wake', { target: { kind: 'guest', id: '1' } }), {}],
    ['local-policy', 'KR_LOCAL_POLICY', start, { policy: narrowPolicy }],
    ['local-policy', 'KR_LOCAL_POLICY', start, { policy: { ok: false, problem: 'allow: bad' } }],
    ['facts', 'KR_FACTS', start, { driver: null }],
    ['facts', 'KR_FACTS', start, { nodeFacts: null }],
    ['simulated', 'KR_SIMULATED', start, granted(start, true)],
    ['capability', 'KR_NOT_CAPABLE', start, { driver: { ...emptyDriver() } }],
    ['capability', 'KR_NO_WAKER', wake, { wakers: 0 }],
    ['epoch', 'KR_EPOCH', start, { maxEpoch: 5 }],
    ['journal', 'KR_JOURNAL_QUARANTINED', shutdown, { quarantined: 'journal.quarantined-1' }],
    ['disk', 'KR_DISK_FULL', start, { hasReserve: false }],
    ['target-busy', 'KR_TARGET_BUSY', start, { isTargetBusy: true }],
    ['protected', 'KR_PROTECTED', shutdown, { policy: protectedPolicy }],
    ['protected', 'KR_PROTECTED', shutdown, { nodeFacts: NodeFacts.parse({ protected: true }) }],
    ['protected', 'KR_PROTECTED', offer('node.reboot'), { policy: protectedPolicy }],
    ['running-guests', 'KR_GUESTS_RUNNING', shutdown, { runningGuests: 3 }],
    ['running-guests', 'KR_GUESTS_RUNNING', shutdown, { runningGuests: null }],
  ])('rule %s denies with %s', (rule, code, wanted, more) => {
    const denial = judge(facts(wanted, more));
    expect(denial).toMatchObject({ rule, code });
    expect(denial?.reason).not.toBe('');
    expect(denial?.wayOut).not.toBe('');
  });

  it('refuses a real grant on a simulated driver, too', () => {
    const simulated = { ...emptyDriver(), simulated: true, capabilities: [start.kind] };
    expect(judge(facts(start, { driver: simulated, ...granted(start, true) }))).toBeNull();
    const denial = judge(facts(start, { driver: simulated, ...granted(start, false) }));
    expect(denial).toMatchObject({ code: 'KR_SIMULATED' });
  });

  it.each(['node.wake', 'node.restore', 'guest.start'] as const)(
    'lets harmless %s pass although the journal is quarantined or the node protected',
    (kind) => {
      const more = { quarantined: 'x', policy: protectedPolicy, runningGuests: 9 };
      expect(judge(facts(offer(kind), more))).toBeNull();
    },
  );

  it('gives each rule its own id', () => {
    expect(new Set(guards.map(({ id }) => id)).size).toBe(guards.length);
  });
});

function emptyDriver() {
  return { name: 'script' as const, version: null, simulated: false, capabilities: [] };
}
