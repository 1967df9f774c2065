import { describe, expect, it } from 'vitest';
import {
  bindingHash,
  bindingOf,
  type Candidate,
  isProof,
  type ProofRow,
  proofsOf,
  waysTo,
} from '../../../backend/act/wake-ways.ts';
import { nodeFacts } from './guard-samples.ts';

const link = (mac: string, broadcast: string | null, wakeOnMagic: boolean | null = true) => ({
  name: 'eno1',
  mac,
  address: null,
  broadcast,
  wakeOnMagic,
  driver: 'igc',
});
const near = [link('02:00:00:00:00:02', '192.168.1.255')];
const far = [link('02:00:00:00:00:03', '10.0.0.255')];
const target = { id: 'big', facts: nodeFacts({ kernel: '6.14.8-2-pve' }) };
const daemon = (id: string, change: Partial<Candidate['facts']> = {}): Candidate => ({
  id,
  canWake: true,
  facts: nodeFacts({ links: near, ...change }),
});

describe('the ways to a sleeping node', () => {
  it('are magic packets from its own broadcast domain where nobody says more', () => {
    const ways = waysTo(target, [daemon('n2'), daemon('n1'), daemon('n3', { links: far })]);
    expect(ways).toEqual([
      { executor: 'n1', by: 'wol', isNear: true },
      { executor: 'n2', by: 'wol', isNear: true },
    ]);
  });

  it("follow each daemon's own order: every first choice before any second one", () => {
    const wakers = [
      { node: 'big', by: ['ipmi' as const, 'wol' as const] },
      { node: null, by: ['wol' as const] },
    ];
    const ways = waysTo(target, [daemon('n1', { wakers }), daemon('n2')]);
    expect(ways.map(({ executor, by }) => `${by}@${executor}`)).toEqual([
      'ipmi@n1',
      'wol@n2',
      'wol@n1',
    ]);
    expect(waysTo({ ...target, id: 'other' }, [daemon('n1', { wakers })])).toEqual([
      { executor: 'n1', by: 'wol', isNear: true },
    ]);
  });

  it('never lead through the node itself, nor through one that cannot wake', () => {
    const mute = { ...daemon('n1'), canWake: false };
    const silent = daemon('n3', { wakers: [{ node: 'other', by: ['wol'] }] });
    expect(waysTo(target, [mute, silent, daemon('big')])).toEqual([]);
  });

  it('reach a BMC from anywhere, and try an unknown network without vouching for it', () => {
    const wakers = [{ node: 'big', by: ['redfish' as const] }];
    const ways = waysTo(target, [
      daemon('n1', { links: far, wakers }),
      daemon('n2', { links: [] }),
    ]);
    expect(ways).toEqual([
      { executor: 'n1', by: 'redfish', isNear: true },
      { executor: 'n2', by: 'wol', isNear: false },
    ]);
  });
});

const day = 86_400_000;
const nowMs = 100 * day;

describe('a wake proof', () => {
  const hash = (facts = target.facts, waker: 'wol' | 'ipmi' = 'wol'): string => {
    const binding = bindingOf(facts, waker);
    return binding ? bindingHash(binding) : 'none';
  };
  const cycle = (ageMs: number, change: Partial<ProofRow> = {}): ProofRow => ({
    waker: 'wol',
    binding_hash: hash(),
    succeeded: 1,
    woken_at_ms: nowMs - ageMs,
    boot_ms: 90_000,
    created_at_ms: nowMs - ageMs,
    ...change,
  });
  const byWol = (rows: readonly ProofRow[], facts = target.facts) => {
    const [first] = proofsOf(rows, { facts, nowMs });
    return first ? { succeeded: first.succeeded, isProof: isProof(first) } : null;
  };

  it('is three cycles, the youngest at most 30 days old', () => {
    const three = [cycle(3 * day), cycle(2 * day), cycle(day)];
    expect(byWol(three)).toEqual({ succeeded: 3, isProof: true });
    expect(byWol(three.slice(1))).toEqual({ succeeded: 2, isProof: false });
    const old = [cycle(30 * day), cycle(40 * day), cycle(50 * day)];
    expect(byWol(old)).toEqual({ succeeded: 3, isProof: true });
    expect(byWol([cycle(30 * day + 1), ...old.slice(1)])?.isProof).toBe(false);
  });

  it.each([
    ['kernel', { kernel: '6.15.1-1-pve' }],
    ['firmware', { biosVersion: 'F12' }],
    ['card', { links: [link('02:00:00:00:00:99', '192.168.1.255')] }],
    ['driver of the card', { links: [{ ...link('02:00:00:00:00:01', null), driver: 'e1000e' }] }],
    ['Wake-on-LAN flag', { links: [link('02:00:00:00:00:01', '192.168.1.255', false)] }],
  ])('is void once the %s changed', (_what, change) => {
    const rows = [cycle(3), cycle(2), cycle(1)];
    const changed = nodeFacts({ kernel: '6.14.8-2-pve', ...change });
    expect(byWol(rows, changed)).toEqual({ succeeded: 0, isProof: false });
  });

  it('starts again after a wake by that way failed', () => {
    const rows = [cycle(4), cycle(3), cycle(2), cycle(1, { succeeded: 0, woken_at_ms: null })];
    expect(byWol(rows)).toEqual({ succeeded: 0, isProof: false });
    expect(byWol([...rows, cycle(0)])).toEqual({ succeeded: 1, isProof: false });
  });

  it('counts for its own waker alone, and one by a BMC is bound to no card', () => {
    const ipmi = { waker: 'ipmi', binding_hash: hash(target.facts, 'ipmi') };
    const rows = [cycle(3, ipmi), cycle(2, ipmi), cycle(1, ipmi)];
    expect(byWol(rows)).toEqual({ succeeded: 0, isProof: false });
    const otherCard = nodeFacts({ kernel: '6.14.8-2-pve', links: far });
    const proven = proofsOf(rows, { facts: otherCard, nowMs }).filter(isProof);
    expect(proven.map(({ waker }) => waker)).toEqual(['ipmi']);
  });

  it('cannot be had of a node that says too little of itself', () => {
    expect(bindingOf(null, 'wol')).toBeNull();
    expect(bindingOf(nodeFacts({ kernel: null }), 'wol')).toBeNull();
    const unarmed = nodeFacts({ kernel: '6', links: [link('02:00:00:00:00:01', null, null)] });
    expect(bindingOf(unarmed, 'wol')).toBeNull();
    expect(bindingOf(unarmed, 'ipmi')).not.toBeNull();
    const one = [cycle(1, { binding_hash: 'none' })];
    expect(proofsOf(one, { facts: null, nowMs })[0]).toMatchObject({ succeeded: 0 });
  });

  it('measures the median boot', () => {
    const rows = [cycle(3, { boot_ms: 60_000 }), cycle(2, { boot_ms: 200_000 }), cycle(1)];
    expect(proofsOf(rows, { facts: target.facts, nowMs })[0]?.bootMs).toBe(90_000);
  });
});
