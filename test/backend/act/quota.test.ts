import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Claim,
  excess,
  type Held,
  noQuotas,
  type Quotas,
  takenBy,
} from '../../../backend/act/quota.ts';
import type { Submission } from '../../../backend/act/planned.ts';
import { createWorld } from './twin.ts';

const gibibyte = 2 ** 30;
const one = (change: Partial<Held> = {}): Held => ({
  cluster: 'home',
  guest: 'web',
  account: 'anna',
  isOnLxd: true,
  cpuCount: 2,
  memoryBytes: 2 * gibibyte,
  ...change,
});
const of = (cpuCount: number | null, memoryBytes: number | null = null) => ({
  cpuCount,
  memoryBytes,
});

describe('the arithmetic of quotas', () => {
  const others = [one({ guest: 'a', cpuCount: 4 }), one({ guest: 'b', cluster: 'lab' })];
  it.each<[string, Partial<Quotas>, Partial<Held>, string | null]>([
    ['passes what fits exactly', { global: of(8) }, {}, null],
    [
      'names the sum of all clusters',
      { global: of(7) },
      {},
      'quota of all clusters: 7 vCPU, others take 6 vCPU, this asks for 2 vCPU: 1 vCPU too much',
    ],
    ['counts a cluster by itself', { clusters: { home: of(6) } }, {}, null],
    [
      'refuses by memory, too',
      { clusters: { home: of(null, 3 * gibibyte) } },
      {},
      'quota of cluster home: 3 GiB, others take 2 GiB, this asks for 2 GiB: 1 GiB too much',
    ],
    [
      'gives an account 8 vCPU on LXD unless somebody says otherwise',
      {},
      { cpuCount: 3 },
      'quota of this account on LXD: 8 vCPU, others take 6 vCPU, this asks for 3 vCPU: 1 vCPU too much',
    ],
    ['gives none by itself elsewhere', {}, { cpuCount: 300, isOnLxd: false }, null],
    ['lets an own limit stand instead', { accounts: { anna: of(20) } }, { cpuCount: 14 }, null],
    ['holds nobody to what others made', {}, { account: 'bob', cpuCount: 8 }, null],
  ])('%s', (_says, quotas, wanted, expected) => {
    const all = { ...noQuotas, ...quotas };
    expect(excess(all, one(wanted), { held: others, before: null })).toBe(expected);
  });

  it('lets a guest that is over its limit shrink, and not grow', () => {
    const quotas = { ...noQuotas, global: of(1) };
    const before = one({ cpuCount: 4 });
    expect(excess(quotas, one({ cpuCount: 3 }), { held: others, before })).toBeNull();
    expect(excess(quotas, one({ cpuCount: 5 }), { held: others, before })).toMatch(/too much/);
  });

  const claim = (change: Partial<Claim>): Claim => ({
    ...one(),
    node: 'n1',
    state: 'SUCCEEDED',
    finishedAtMs: 100_000,
    ...change,
  });
  const seen = (cpuCount: number, atMs: number) => ({ amount: { ...of2, cpuCount }, atMs });
  const of2 = { cpuCount: 1, memoryBytes: gibibyte };
  it.each([
    ['what is under way by its promise', claim({ state: 'RUNNING' }), null, null, 2],
    ['what is in doubt by its promise', claim({ state: 'INDETERMINATE' }), null, 1e9, 2],
    ['the larger while the sample is young', claim({}), seen(1, 110_000), 110_000, 2],
    ['what is seen once that is settled', claim({}), seen(1, 140_000), 140_000, 1],
    ['what was made and is not seen yet', claim({}), null, 110_000, 2],
    ['nothing that its node no longer shows', claim({}), null, 140_000, undefined],
    ['what nobody could have seen since', claim({}), null, null, 2],
  ])('counts %s', (_says, given, sample, nodeSeenAtMs, expected) => {
    expect(takenBy(given, sample, nodeSeenAtMs)?.cpuCount).toBe(expected);
  });
});

describe('quotas of a running server', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kr-quota-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function server(quotas: Partial<Quotas>) {
    const world = await createWorld({ folder });
    const { commands } = world.createService();
    await commands.start();
    await world.boot();
    await commands.setQuotas({ ...noQuotas, ...quotas }, 'account:anna');
    const create = (guest: string, change: Partial<Submission> = {}) =>
      commands.submit({
        cluster: 'home',
        kind: 'guest.create',
        node: 'n1',
        guest,
        args: { image: 'debian', kind: 'container', cpuCount: 1, memoryBytes: gibibyte },
        origin: 'person',
        actor: 'account:anna',
        account: 'anna',
        approved: true,
        ...change,
      });
    return { world, commands, create };
  }

  it('never gives more than a quota to a hundred who ask at once', async () => {
    const { world, create, commands } = await server({ accounts: { anna: of(7) } });
    const names = Array.from({ length: 100 }, (_, index) => `new-${index}`);
    const answers = await Promise.all(names.map((name) => create(name)));
    const given = answers.filter(({ ok }) => ok);
    expect(given).toHaveLength(7);
    const refusals = answers.flatMap((answer) => (answer.ok ? [] : [answer.refusal]));
    expect(new Set(refusals.map(({ status, code }) => `${status} ${code}`))).toEqual(
      new Set(['409 KR_QUOTA']),
    );
    expect(refusals[0]?.detail).toBe(
      'quota of this account: 7 vCPU, others take 7 vCPU, this asks for 1 vCPU: 1 vCPU too much',
    );
    const rows = await world.database.db.selectFrom('commands').select('id').execute();
    expect(rows).toHaveLength(7);
    const { held } = await commands.quotaStanding();
    expect(held.filter(({ account }) => account === 'anna')).toHaveLength(7);
  });

  it('holds a scale to the same quota, of a person as of the engine', async () => {
    const { create, commands } = await server({ global: of(1_000) });
    const { held } = await commands.quotaStanding();
    const taken = held.reduce((sum, { cpuCount }) => sum + cpuCount, 0);
    await commands.setQuotas({ ...noQuotas, global: of(taken + 1) }, 'account:anna');
    const guest = held[0]?.guest ?? '';
    const before = held[0]?.cpuCount ?? 0;
    for (const origin of ['person', 'engine'] as const) {
      const change = { kind: 'guest.scale', origin, args: { cpuCount: before + 2 } } as const;
      expect(await create(guest, change)).toMatchObject({
        ok: false,
        refusal: { status: 409, code: 'KR_QUOTA' },
      });
    }
    const fits = { kind: 'guest.scale', args: { cpuCount: before + 1 } } as const;
    expect(await create(guest, fits)).toMatchObject({ ok: true });
    // What that promises counts from now on, though no sample shows it yet.
    expect(await create('one-more')).toMatchObject({ refusal: { code: 'KR_QUOTA' } });
  });

  it('says the same of a command that is only tried, and promises nothing to it', async () => {
    const { create, commands } = await server({ accounts: { anna: of(2) } });
    const wish: Submission = {
      cluster: 'home',
      kind: 'guest.create',
      node: 'n1',
      guest: 'tried',
      args: { image: 'debian', kind: 'container', cpuCount: 3, memoryBytes: gibibyte },
      origin: 'person',
      actor: 'account:anna',
      account: 'anna',
      approved: true,
    };
    expect(await commands.rehearse(wish)).toMatchObject({
      ok: false,
      refusal: {
        code: 'KR_QUOTA',
        detail:
          'quota of this account: 2 vCPU, others take 0 vCPU, this asks for 3 vCPU: 1 vCPU too much',
      },
    });
    const fits = { ...wish, args: { ...(wish.args as object), cpuCount: 2 } };
    expect(await commands.rehearse(fits)).toMatchObject({ ok: true });
    expect(await create('real', { args: fits.args })).toMatchObject({ ok: true });
  });
});
