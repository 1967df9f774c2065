/**
 * What the command protocol may rely on, whatever keeps its rows: run on memory, on node:sqlite
 * and on a real MariaDB. Each test has a cluster of its own and counts time from the store's now,
 * so that nothing has to be emptied and no clock to be turned.
 */
import { strict as assert } from 'node:assert';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { noteHello } from '../../backend/act/hello.ts';
import { activeStates, cancellableStates } from '../../backend/act/lifecycle.ts';
import { appendEntry, type Verified } from '../../backend/audit/entry.ts';
import {
  briefColumns,
  type CommandRows,
  type CommandStore,
  type LeaseCandidate,
} from '../../backend/store/command-store.ts';
import { newCluster } from '../../backend/store/sql/clusters.ts';
import { ConflictError, UniqueViolation } from '../../backend/store/sql/errors.ts';
import type { Clusters, CommandHistory, Commands, Outbox } from '../../backend/store/sql/schema.ts';
import { Hello } from '../../broker/contract/presence.ts';
import { commandRow } from '../support/command-row.ts';

export type Bench = {
  store: CommandStore;
  /** The same rows through another connection, where there is such a thing. */
  other: CommandStore;
  addCluster(row: Clusters): Promise<void>;
  verifyChain(chain: string): Promise<Verified>;
  close(): Promise<void>;
};

let count = 0;
const fresh = (): number => {
  count += 1;
  return count;
};
const uuid = (n = fresh()): string => `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const hash = (digit: string): string => digit.repeat(64);

/** Lets others get to where they have to wait. */
const others = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
};

const commandOf = (cluster: string, change: Partial<Commands> = {}): Commands =>
  commandRow({
    id: uuid(),
    cluster,
    target_id: '100',
    executor: 'n1',
    generation: fresh(),
    planned_at_ms: fresh(),
    expires_at_ms: 9,
    ...change,
  });

const lineOf = (row: Commands, change: Partial<Outbox> = {}): Outbox => ({
  id: uuid(),
  cluster: row.cluster,
  command_id: row.id,
  node: row.executor,
  message: 'offer',
  attempts: 0,
  due_at_ms: fresh(),
  created_at_ms: 1,
  published_at_ms: null,
  ver: 1,
  ...change,
});

const historyOf = (row: Commands, change: Partial<CommandHistory> = {}): CommandHistory => ({
  command_id: row.id,
  ver: row.ver,
  state: row.state,
  at_ms: 5,
  actor: 'ada',
  reason: null,
  epoch: 1,
  data: '{"auditSeq":3}',
  ...change,
});

const helloOf = (change: Partial<Hello> = {}): Hello =>
  Hello.parse({
    incarnation: 1,
    bootId: uuid(1),
    journalId: uuid(2),
    maxEpoch: 0,
    driver: { name: 'memory', simulated: true, capabilities: [] },
    facts: { cpuCount: 8 },
    ...change,
  });

export function commandStoreContract(open: () => Promise<Bench>): void {
  let bench: Bench;
  let home: string;
  let nowMs: number;
  beforeAll(async () => {
    bench = await open();
  });
  afterAll(() => bench?.close());
  beforeEach(async () => {
    home = `c${fresh()}`;
    await bench.addCluster(newCluster({ id: home, simulated: true, nowMs: 1 }));
    nowMs = await run((rows) => rows.nowMs());
  });

  const run = <T>(work: (rows: CommandRows) => Promise<T>): Promise<T> =>
    bench.store.transaction(work);
  const add = async (change: Partial<Commands> = {}): Promise<Commands> => {
    const row = commandOf(home, change);
    await run((rows) => rows.insertCommand(row));
    return row;
  };
  const guest = (id = '100') => ({ cluster: home, kind: 'guest', id }) as const;
  const nodeKey = (id: string) => ({ cluster: home, id });
  const ensureNodes = (...ids: string[]): Promise<void> =>
    run(async (rows) => {
      for (const id of ids) await rows.ensureNode(nodeKey(id), nowMs);
    });
  const read = (id: string): Promise<Commands | undefined> => bench.store.reads.command(id);

  describe('a transaction', () => {
    it('answers what its work answers and keeps all of its writes', async () => {
      const row = commandOf(home);
      const answer = await run(async (rows) => {
        await rows.insertCommand(row);
        await rows.insertHistory(historyOf(row));
        return 'done';
      });
      expect(answer).toBe('done');
      expect(await bench.other.reads.command(row.id)).toEqual(row);
      expect(await run((rows) => rows.history(row.id, 1))).toEqual(historyOf(row));
    });

    it('keeps none of its writes when its work throws, whatever they were', async () => {
      const old = await add({ state: 'OFFERED' });
      await ensureNodes('n1');
      await run(async (rows) => {
        await rows.nextGeneration(guest());
        await rows.insertOutbox(lineOf(old));
        await rows.takeSlot({ cluster: home, bucket: 'kept', ver: null }, 1);
      });
      const view = () =>
        run(async (rows) => ({
          cluster: await rows.openCluster(home).then((opened) => opened?.cluster),
          holds: await rows.holds(),
          command: await rows.command(old.id),
          history: await rows.history(old.id, 2),
          target: await rows.target(guest()),
          node: await rows.node(nodeKey('n1')),
          nodes: await rows.countNodes(home),
          slots: await rows.limiterSlots(home, ['kept', 'taken']),
          due: (await rows.dueOffers(5_000)).filter(({ cluster }) => cluster === home),
          lease: (await rows.leaseCandidates(home)).map(({ owner, epoch }) => ({ owner, epoch })),
          head: await rows.takeAuditHead(home),
        }));
      const before = await view();
      const failing = run(async (rows) => {
        await rows.updateCluster(home, { hold: 1 });
        await rows.countHold('{}', '{}');
        await rows.updateCommand(old, { state: 'EXPIRED', finished_at_ms: 9 });
        await rows.insertHistory(historyOf(old, { ver: 2 }));
        await rows.insertCommand(commandOf(home, { idempotency_key: `${home}:gone` }));
        await rows.nextGeneration(guest());
        await rows.nextGeneration(guest('101'));
        await rows.updateNode(nodeKey('n1'), { desired: 'asleep' });
        await rows.ensureNode(nodeKey('n2'), nowMs);
        await rows.forgetSlots(home, 2);
        await rows.takeSlot({ cluster: home, bucket: 'taken', ver: null }, 1);
        await rows.dropOutbox(old.id);
        const [candidate] = await rows.leaseCandidates(home);
        assert(candidate);
        await rows.takeLease(candidate, 'a', 10_000);
        await appendEntry(rows, entryOf(1));
        throw new Error('thought better of it');
      });
      await expect(failing).rejects.toThrow('thought better of it');
      expect(await view()).toEqual(before);
      // What was rolled back bars nothing: key, generation and line are free again.
      expect(await run((rows) => rows.commandByKey(`${home}:gone`))).toBeUndefined();
      await add({ idempotency_key: `${home}:gone` });
      expect(await run((rows) => rows.nextGeneration(guest('101')))).toBe(1);
    });

    it('begins anew for a ConflictError with the rows as they then are, but not for ever', async () => {
      let attempts = 0;
      const generation = await run(async (rows) => {
        attempts += 1;
        const generation = await rows.nextGeneration(guest());
        if (attempts < 4) throw new ConflictError('lost');
        return generation;
      });
      expect({ attempts, generation }).toEqual({ attempts: 4, generation: 1 });
      attempts = 0;
      const losing = run(async () => {
        attempts += 1;
        throw new ConflictError('always');
      });
      await expect(losing).rejects.toBeInstanceOf(ConflictError);
      expect(attempts).toBe(20);
      attempts = 0;
      const failing = run(async () => {
        attempts += 1;
        throw new TypeError('ours');
      });
      await expect(failing).rejects.toBeInstanceOf(TypeError);
      expect(attempts).toBe(1);
    });

    it('shows nothing of itself to readers before it has committed', async () => {
      const row = commandOf(home);
      let reading: Promise<Commands | undefined> = Promise.resolve(undefined);
      const failing = run(async (rows) => {
        await rows.insertCommand(row);
        reading = bench.other.reads.command(row.id);
        await others();
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(await reading).toBeUndefined();
    });

    it('goes on after a uniqueness violation that its work takes in', async () => {
      const row = await add();
      const other = commandOf(home);
      await run(async (rows) => {
        await expect(rows.insertCommand(row)).rejects.toBeInstanceOf(UniqueViolation);
        await rows.insertCommand(other);
      });
      expect(await read(other.id)).toEqual(other);
    });

    it('loses no update of many that read, wait and write', async () => {
      await ensureNodes('n1');
      const raise = (store: CommandStore) =>
        store.transaction(async (rows) => {
          const node = await rows.node(nodeKey('n1'));
          assert(node);
          await others();
          const patch = { incarnation: node.incarnation + 1 };
          if (!(await rows.updateNode(node, patch, { ver: node.ver }))) {
            throw new ConflictError('somebody was faster');
          }
        });
      await Promise.all([bench.store, bench.other, bench.store, bench.other].map(raise));
      const node = await run((rows) => rows.node(nodeKey('n1')));
      expect(node).toMatchObject({ incarnation: 4, ver: 5 });
    });

    it('refuses what a column does not take', async () => {
      const row = await add();
      for (const value of [Number.NaN, 2 ** 60, true]) {
        const patch = { last_n: value as number };
        await expect(run((rows) => rows.updateCommand(row, patch))).rejects.toThrow(
          /keeps exactly|take/,
        );
      }
      expect(await read(row.id)).toEqual(row);
    });

    it('hands out rows that later writes leave as they were', async () => {
      const { id } = await add();
      await run(async (rows) => {
        const before = await rows.command(id);
        assert(before);
        await rows.updateCommand(before, { state: 'OFFERED' });
        expect(before.state).toBe('QUEUED');
      });
    });
  });

  describe('the lease of a cluster', () => {
    const candidate = async (): Promise<LeaseCandidate> => {
      const [found] = await run((rows) => rows.leaseCandidates(home));
      assert(found);
      return found;
    };
    const take = (from: LeaseCandidate, owner: string, forMs = 60_000): Promise<boolean> =>
      run((rows) => rows.takeLease(from, owner, forMs));

    it('is taken once by who finds none, with epoch 1', async () => {
      const found = await candidate();
      expect(found).toMatchObject({ cluster: home, owner: null, epoch: null, expires_at_ms: null });
      expect(Math.abs(found.now_ms - nowMs)).toBeLessThan(60_000);
      expect(await take(found, 'a')).toBe(true);
      expect(await take(found, 'b')).toBe(false);
      expect(await candidate()).toMatchObject({
        owner: 'a',
        epoch: 1,
        expires_at_ms: found.now_ms + 60_000,
      });
    });

    it('is taken from another only when it has run out, and from oneself at any time', async () => {
      await take(await candidate(), 'a');
      expect(await take(await candidate(), 'b')).toBe(false);
      expect(await take(await candidate(), 'a')).toBe(true);
      expect(await candidate()).toMatchObject({ owner: 'a', epoch: 2 });
      const stale = await candidate();
      await run((rows) => rows.renewLeases('a', -1_000, home));
      expect(await take(await candidate(), 'b')).toBe(true);
      expect(await candidate()).toMatchObject({ owner: 'b', epoch: 3 });
      // The epoch has moved since this was read.
      expect(await take(stale, 'a')).toBe(false);
    });

    it('is renewed and ended by its owner alone, one cluster or all', async () => {
      const second = `c${fresh()}`;
      await bench.addCluster(newCluster({ id: second, simulated: true, nowMs: 1 }));
      const owner = `owner-${home}`;
      await take(await candidate(), owner);
      const [found] = await run((rows) => rows.leaseCandidates(second));
      assert(found);
      await take(found, owner);
      const ends = () =>
        run(async (rows) => {
          const all = await rows.leaseCandidates();
          return [home, second].map(
            (id) => all.find(({ cluster }) => cluster === id)?.expires_at_ms ?? 0,
          );
        });
      const [, untouched] = await ends();
      await run((rows) => rows.renewLeases(owner, 3_600_000, home));
      const [first = 0, same] = await ends();
      expect(same).toBe(untouched);
      expect(first).toBeGreaterThan(nowMs + 3_000_000);
      await run((rows) => rows.renewLeases(owner, 7_200_000));
      for (const end of await ends()) expect(end).toBeGreaterThan(nowMs + 7_000_000);
      await run((rows) => rows.renewLeases('stranger', 1));
      await run((rows) => rows.expireLeases('stranger', [{ cluster: home, epoch: 1 }]));
      await run((rows) =>
        rows.expireLeases(owner, [
          { cluster: home, epoch: 9 },
          { cluster: second, epoch: 1 },
        ]),
      );
      const [kept = 0, ended] = await ends();
      expect(kept).toBeGreaterThan(nowMs + 7_000_000);
      expect(ended).toBe(0);
      await run((rows) => rows.expireLeases(owner, []));
    });

    it('lets through its fence nobody but the owner in the present epoch', async () => {
      const pass = (owner: string, epoch: number, cluster = home): Promise<boolean> =>
        run((rows) => rows.passFence({ cluster, owner, epoch }));
      expect(await pass('a', 1)).toBe(false);
      await take(await candidate(), 'a');
      expect(await pass('a', 1)).toBe(true);
      expect(await pass('a', 2)).toBe(false);
      expect(await pass('b', 1)).toBe(false);
      expect(await pass('a', 1, 'nowhere')).toBe(false);
      // A lease that ran out still fences: what counts is that nobody else took it.
      await run((rows) => rows.renewLeases('a', -1_000, home));
      expect(await pass('a', 1)).toBe(true);
    });

    it('is not taken over while a step behind the fence is under way', async () => {
      await take(await candidate(), 'a');
      await run((rows) => rows.renewLeases('a', -1_000, home));
      const seen = await candidate();
      const order: string[] = [];
      let takeover: Promise<unknown> = Promise.resolve();
      await run(async (rows) => {
        expect(await rows.passFence({ cluster: home, owner: 'a', epoch: 1 })).toBe(true);
        takeover = bench.other
          .transaction((theirs) => theirs.takeLease(seen, 'b', 1_000))
          .then((hasTaken) => order.push(`taken over: ${hasTaken}`));
        await others();
        order.push('step ended');
      });
      await takeover;
      expect(order).toEqual(['step ended', 'taken over: true']);
    });
  });

  describe('clusters and HOLD', () => {
    it('open with the row, the HOLD of everything and the store’s time', async () => {
      const opened = await run((rows) => rows.openCluster(home));
      expect(opened?.cluster).toEqual(newCluster({ id: home, simulated: true, nowMs: 1 }));
      expect(Math.abs((opened?.nowMs ?? 0) - nowMs)).toBeLessThan(60_000);
      expect(await run((rows) => rows.openCluster('nowhere'))).toBeUndefined();
      expect(await bench.store.reads.clusterIds()).toContain(home);
    });

    it('keep what is patched and count it', async () => {
      expect(await run((rows) => rows.updateCluster(home, { hold: 1, hold_by: 'ada' }))).toBe(true);
      expect((await run((rows) => rows.openCluster(home)))?.cluster).toMatchObject({
        hold: 1,
        hold_by: 'ada',
        ver: 2,
      });
      expect((await bench.other.reads.holds()).clusters).toContain(home);
      expect(await run((rows) => rows.updateCluster('nowhere', { hold: 1 }))).toBe(false);
    });

    it('count every change of HOLD, also one that leaves its value', async () => {
      await run((rows) => rows.countHold(null, '{"all":false}'));
      const before = (await bench.store.reads.holds()).setting;
      await run((rows) => rows.countHold(null, '{"all":"ignored"}'));
      const { setting } = await bench.store.reads.holds();
      assert(before && setting);
      expect(setting).toEqual({ value: before.value, ver: before.ver + 1 });
      await run((rows) => rows.countHold('{"all":true}', '{}'));
      expect((await run((rows) => rows.openCluster(home)))?.hold).toBe('{"all":true}');
      await Promise.all(
        [bench.store, bench.other, bench.store].map((store) =>
          store.transaction((rows) => rows.countHold(null, '{}')),
        ),
      );
      const after = (await bench.store.reads.holds()).setting;
      expect(after).toEqual({ value: '{"all":true}', ver: before.ver + 5 });
    });
  });

  describe('nodes', () => {
    it('are made once and count per cluster', async () => {
      const ensure = (store: CommandStore) =>
        store.transaction((rows) => rows.ensureNode(nodeKey('n1'), 7));
      await Promise.all([bench.store, bench.other, bench.store].map(ensure));
      await ensureNodes('n2');
      expect(await run((rows) => rows.countNodes(home))).toBe(2);
      expect(await run((rows) => rows.node(nodeKey('n1')))).toMatchObject({
        cluster: home,
        id: 'n1',
        driver: null,
        journal_confirmed: 1,
        desired: 'awake',
        created_at_ms: 7,
        ver: 1,
      });
      expect(await run((rows) => rows.node(nodeKey('n3')))).toBeUndefined();
      expect(await run((rows) => rows.countNodes('nowhere'))).toBe(0);
    });

    it('change under a version or whatever it is, and never when unknown', async () => {
      await ensureNodes('n1');
      const update = (id: string, expected?: { ver: number }): Promise<boolean> =>
        run((rows) => rows.updateNode(nodeKey(id), { desired: 'asleep' }, expected));
      expect(await update('n1', { ver: 2 })).toBe(false);
      expect(await update('n1', { ver: 1 })).toBe(true);
      expect(await update('n1')).toBe(true);
      expect(await update('n2')).toBe(false);
      const node = await run((rows) => rows.node(nodeKey('n1')));
      expect(node).toMatchObject({ desired: 'asleep', ver: 3 });
    });

    it('are neighbours by id, once they have said what drives them', async () => {
      await ensureNodes('n3', 'n1', 'n2', 'n10');
      for (const id of ['n3', 'n1', 'n10']) {
        await run((rows) => rows.updateNode(nodeKey(id), { driver: '{}' }));
      }
      const ids = async (id: string) =>
        (await run((rows) => rows.neighbours(nodeKey(id)))).map((row) => row.id);
      expect(await ids('n3')).toEqual(['n1', 'n10']);
      expect(await ids('n2')).toEqual(['n1', 'n10', 'n3']);
      expect(await run((rows) => rows.neighbours({ cluster: 'nowhere', id: 'x' }))).toEqual([]);
    });

    it('take the first hello as it is and mark a later journal as unconfirmed', async () => {
      await ensureNodes('n1');
      const row = () => run((rows) => rows.node(nodeKey('n1')));
      const note = (change: Partial<Hello>) =>
        run(async (rows) => {
          const known = await rows.node(nodeKey('n1'));
          assert(known);
          return noteHello(rows, known, { hello: helloOf(change), nowMs });
        });
      const same = { isCurrent: true, isNewBoot: false, isNewJournal: false };
      expect(await note({ maxEpoch: 7 })).toEqual({ ...same, isNewBoot: true });
      expect(await row()).toMatchObject({ journal_confirmed: 1, max_epoch: 7, incarnation: 1 });
      expect(await note({ incarnation: 3, maxEpoch: 2 })).toEqual(same);
      expect(await note({ incarnation: 2 })).toEqual({ ...same, isCurrent: false });
      expect(await row()).toMatchObject({ max_epoch: 7, incarnation: 3 });
      expect(await note({ incarnation: 4, bootId: uuid(5) })).toEqual({ ...same, isNewBoot: true });
      expect(await note({ incarnation: 1, bootId: uuid(5), journalId: uuid(6) })).toEqual({
        ...same,
        isNewJournal: true,
      });
      expect(await row()).toMatchObject({ journal_confirmed: 0, journal_id: uuid(6) });
      await note({ incarnation: 2, bootId: uuid(5), journalId: uuid(6) });
      expect(await row()).toMatchObject({ journal_confirmed: 0, boot_id: uuid(5) });
      expect(JSON.parse((await row())?.facts ?? '')).toMatchObject({ cpuCount: 8 });
    });
  });

  describe('a target', () => {
    it('counts the generations of its commands without a gap, whoever asks', async () => {
      expect(await run((rows) => rows.target(guest()))).toBeUndefined();
      const next = (store: CommandStore): Promise<number> =>
        store.transaction((rows) => rows.nextGeneration(guest()));
      expect(await next(bench.store)).toBe(1);
      const stores = Array.from({ length: 12 }, (_, at) => (at % 2 ? bench.store : bench.other));
      const drawn = await Promise.all(stores.map(next));
      expect(drawn.sort((a, b) => a - b)).toEqual(stores.map((_, at) => at + 2));
      expect(await run((rows) => rows.nextGeneration(guest('101')))).toBe(1);
      const node = { cluster: home, kind: 'node', id: '100' } as const;
      expect(await run((rows) => rows.nextGeneration(node))).toBe(1);
    });

    it('names the command that holds it', async () => {
      await run((rows) => rows.nextGeneration(guest()));
      const free = await run((rows) => rows.target(guest()));
      expect(free).toEqual({
        ...guest(),
        generation: 1,
        active_command: null,
        paused_until_ms: null,
        paused_by: null,
        ver: 1,
        active: null,
      });
      const { id } = await add({ state: 'GRANTED' });
      await run((rows) => rows.updateTarget(guest(), { active_command: id }));
      expect(await run((rows) => rows.target(guest()))).toMatchObject({
        active_command: id,
        active: { id, kind: 'guest.start', state: 'GRANTED' },
        ver: 2,
      });
    });

    it('is taken by one of many and given back by its holder alone', async () => {
      await run((rows) => rows.nextGeneration(guest()));
      const take = async (store: CommandStore): Promise<string[]> => {
        const { id } = await add();
        const hasTaken = await store.transaction((rows) =>
          rows.updateTarget(guest(), { active_command: id }, { ver: 1 }),
        );
        return hasTaken ? [id] : [];
      };
      const stores = [bench.store, bench.other, bench.store, bench.other];
      const holders = (await Promise.all(stores.map(take))).flat();
      expect(holders).toHaveLength(1);
      const [holder = ''] = holders;
      const free = (from: string): Promise<boolean> =>
        run((rows) =>
          rows.updateTarget(guest(), { active_command: null }, { active_command: from }),
        );
      expect(await free(uuid())).toBe(false);
      expect(await free(holder)).toBe(true);
      expect(await free(holder)).toBe(false);
      expect((await run((rows) => rows.target(guest())))?.active_command).toBeNull();
      const pause = { paused_until_ms: 5, paused_by: 'ada' };
      expect(await run((rows) => rows.updateTarget(guest('none'), pause))).toBe(false);
    });
  });

  describe('a command', () => {
    it('is one by id, by key, and by generation of its target and kind', async () => {
      const row = await add({ idempotency_key: `ada:${home}` });
      expect(await run((rows) => rows.commandByKey(`ada:${home}`))).toEqual(row);
      expect(await run((rows) => rows.commandByKey('ada:none'))).toBeUndefined();
      const clashes: Partial<Commands>[] = [
        { id: row.id },
        { idempotency_key: row.idempotency_key },
        { generation: row.generation },
      ];
      for (const clash of clashes) {
        await expect(add(clash)).rejects.toBeInstanceOf(UniqueViolation);
      }
      await add({ generation: row.generation, kind: 'guest.stop' });
      await add({ generation: row.generation, target_id: '101' });
      await add();
    });

    it('changes only from the state and version it was seen in, once', async () => {
      const row = await add();
      const change = (seen: Pick<Commands, 'state' | 'ver'>) => (store: CommandStore) =>
        store.transaction((rows) =>
          rows.updateCommand({ id: row.id, ...seen }, { state: 'OFFERED', handle: 'h' }),
        );
      expect(await change({ state: 'PLANNED', ver: 1 })(bench.store)).toBe(false);
      expect(await change({ state: 'QUEUED', ver: 2 })(bench.store)).toBe(false);
      const won = await Promise.all(
        [bench.store, bench.other, bench.store].map(change({ state: 'QUEUED', ver: 1 })),
      );
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await read(row.id)).toEqual({ ...row, state: 'OFFERED', handle: 'h', ver: 2 });
      const gone = { id: uuid(), state: 'QUEUED', ver: 1 };
      expect(await run((rows) => rows.updateCommand(gone, { handle: 'h' }))).toBe(false);
    });

    it('has one line of history per version', async () => {
      const row = await add();
      await run((rows) => rows.insertHistory(historyOf(row)));
      await run((rows) => rows.insertHistory(historyOf(row, { ver: 2, data: null })));
      const again = run((rows) => rows.insertHistory(historyOf(row)));
      await expect(again).rejects.toBeInstanceOf(UniqueViolation);
      expect(await run((rows) => rows.history(row.id, 1))).toEqual(historyOf(row));
      expect(await run((rows) => rows.history(row.id, 3))).toBeUndefined();
    });

    it('is found among others by ids, by age, in its own cluster', async () => {
      const [young, old] = [await add({ planned_at_ms: 20 }), await add({ planned_at_ms: 10 })];
      const foreign = commandOf('elsewhere');
      await run((rows) => rows.insertCommand(foreign));
      const ids = [young.id, foreign.id, uuid(), old.id];
      expect(await run((rows) => rows.commandsByIds(home, ids))).toEqual([old, young]);
    });

    it('is found at its executor and at the node it is done to', async () => {
      const own = await add({ executor: 'n1', planned_at_ms: 30 });
      const wake = await add({
        executor: 'n2',
        kind: 'node.wake',
        target_kind: 'node',
        target_id: 'n1',
        planned_at_ms: 20,
      });
      await add({ executor: 'n1', state: 'SUCCEEDED' });
      // A guest may be called like a node.
      await add({ executor: 'n2', target_id: 'n1' });
      const at = (states: string[]) => run((rows) => rows.commandsAt(nodeKey('n1'), states));
      expect(await at(['QUEUED', 'OFFERED'])).toEqual([wake, own]);
      expect((await at(['SUCCEEDED'])).map(({ state }) => state)).toEqual(['SUCCEEDED']);
      expect(await at(['GRANTED'])).toEqual([]);
    });

    it('is told to others in brief, filtered by all that they ask for', async () => {
      const rows = [
        await add({ planned_at_ms: 40, state: 'SUCCEEDED', finished_at_ms: 100 }),
        await add({ planned_at_ms: 30, state: 'FAILED', finished_at_ms: 200, granted_at_ms: 50 }),
        await add({ planned_at_ms: 20, state: 'INDETERMINATE', granted_at_ms: 60 }),
        await add({ planned_at_ms: 10, state: 'RUNNING', kind: 'guest.stop', target_id: '101' }),
      ] as const;
      const brief = (row: Commands) =>
        Object.fromEntries(briefColumns.map((column) => [column, row[column]]));
      const all = ['SUCCEEDED', 'FAILED', 'INDETERMINATE', 'RUNNING'];
      const of = (filter: Parameters<CommandRows['commandsOf']>[1]) =>
        run((store) => store.commandsOf(home, filter));
      const [done, failed, doubtful, running] = rows.map(brief);
      expect(await of({ states: all })).toEqual([running, doubtful, failed, done]);
      expect(await of({ states: activeStates })).toEqual([running, doubtful]);
      expect(await of({ states: all, kinds: ['guest.stop'] })).toEqual([running]);
      expect(await of({ states: all, target: guest('101') })).toEqual([running]);
      expect(await of({ states: all, target: { kind: 'node', id: '101' } })).toEqual([]);
      expect(await of({ states: all, finishedAfterMs: 100 })).toEqual([failed]);
      expect(await of({ states: all, grantedAfterMs: 50 })).toEqual([doubtful]);
      const nowhere = await run((store) => store.commandsOf('nowhere', { states: all }));
      expect(nowhere).toEqual([]);
    });

    it('has its deadline moved out and its probe moved in, only where that moves them', async () => {
      const early = await add({ state: 'RUNNING', deadline_at_ms: 100 });
      const late = await add({ state: 'RUNNING', deadline_at_ms: 900 });
      const none = await add({ state: 'VERIFYING', next_probe_at_ms: 900 });
      const far = await add({ state: 'INDETERMINATE', next_probe_at_ms: 900, executor: 'n2' });
      const near = await add({ state: 'INDETERMINATE', next_probe_at_ms: 100 });
      const waits = await add({ state: 'QUEUED', deadline_at_ms: 100, next_probe_at_ms: 900 });
      const view = async () => {
        const found = await run((rows) =>
          rows.commandsByIds(
            home,
            [early, late, none, far, near, waits].map(({ id }) => id),
          ),
        );
        return found.map(({ deadline_at_ms, next_probe_at_ms, ver }) => [
          deadline_at_ms,
          next_probe_at_ms,
          ver,
        ]);
      };
      await run((rows) => rows.postponeDeadlines([home], ['RUNNING', 'VERIFYING'], 500));
      await run((rows) => rows.postponeDeadlines(['nowhere'], ['QUEUED'], 700));
      await run((rows) => rows.probeSoon([home], 400, 'n2'));
      expect(await view()).toEqual([
        [500, null, 2],
        [900, null, 1],
        [null, 900, 1],
        [null, 400, 2],
        [null, 100, 1],
        [100, 900, 1],
      ]);
      await run((rows) => rows.probeSoon(['nowhere', home], 300));
      expect(await view()).toEqual([
        [500, null, 2],
        [900, null, 1],
        [null, 300, 2],
        [null, 300, 3],
        [null, 100, 1],
        [100, 900, 1],
      ]);
    });
  });

  describe('what is due', () => {
    const dueIds = async (held: string[] = []): Promise<string[]> => {
      const due = await bench.store.reads.dueCommands(held, 100_000);
      return due.filter(({ cluster }) => cluster === home).map(({ id }) => id);
    };

    it('are open commands past deadline or probe, power-offs under way, and those held', async () => {
      const late = await add({ deadline_at_ms: nowMs, planned_at_ms: 50 });
      const asked = await add({
        state: 'INDETERMINATE',
        next_probe_at_ms: nowMs - 1,
        planned_at_ms: 40,
      });
      const off = await add({ state: 'GRANTED', kind: 'node.shutdown', planned_at_ms: 30 });
      const waiting = await add({ deadline_at_ms: nowMs + 3_600_000, planned_at_ms: 20 });
      await add({ state: 'QUEUED', kind: 'node.shutdown', planned_at_ms: 10 });
      await add({ state: 'SUCCEEDED', deadline_at_ms: 1 });
      await add({ state: 'RUNNING', next_probe_at_ms: nowMs + 3_600_000 });
      expect(await dueIds()).toEqual([off.id, asked.id, late.id]);
      expect(await dueIds(['nowhere'])).toEqual([off.id, asked.id, late.id]);
      const held = await dueIds([home]);
      expect(held).toHaveLength(5);
      expect(held).toContain(waiting.id);
      expect(await bench.store.reads.dueCommands([home], 2)).toHaveLength(2);
      expect(cancellableStates).toContain('QUEUED');
    });
  });

  describe('the outbox', () => {
    const due = async () => {
      const offers = await bench.other.reads.dueOffers(100_000);
      return offers.filter(({ cluster }) => cluster === home);
    };
    const queued = async (change: Partial<Commands> = {}, line: Partial<Outbox> = {}) => {
      const row = await add(change);
      const target = { cluster: home, kind: row.target_kind, id: row.target_id };
      await run((rows) => rows.nextGeneration(target));
      await run((rows) => rows.insertOutbox(lineOf(row, line)));
      return row;
    };
    const ids = async () => (await due()).map(({ command_id }) => command_id);

    it('gives what is due, longest due first', async () => {
      const second = await queued({ target_id: 'a' }, { due_at_ms: 20 });
      const first = await queued({ target_id: 'b', state: 'OFFERED' }, { due_at_ms: 10 });
      await queued({ target_id: 'c' }, { due_at_ms: nowMs + 3_600_000 });
      expect(await ids()).toEqual([first.id, second.id]);
      expect((await due())[0]).toEqual({
        id: expect.any(String) as string,
        cluster: home,
        command_id: first.id,
        node: 'n1',
        attempts: 0,
      });
    });

    it('gives one command per target, the earliest generation, and none of a taken one', async () => {
      const first = await queued({ generation: 1_001 });
      const second = await queued({ generation: 1_002, kind: 'guest.stop' });
      expect(await ids()).toEqual([first.id]);
      await run((rows) => rows.updateCommand(first, { state: 'GRANTED' }));
      expect(await ids()).toEqual([second.id]);
      await run((rows) => rows.updateTarget(guest(), { active_command: first.id }));
      expect(await ids()).toEqual([]);
    });

    it('lets a wake pass to a target in doubt', async () => {
      const off = await add({ state: 'INDETERMINATE', kind: 'node.shutdown' });
      const wake = await queued({ kind: 'node.wake', target_kind: 'node', target_id: 'n3' });
      const target = { cluster: home, kind: 'node', id: 'n3' } as const;
      await run((rows) => rows.updateTarget(target, { active_command: off.id }));
      expect(await ids()).toEqual([wake.id]);
    });

    it('counts offers, hurries for a node that came back, and forgets what is over', async () => {
      const row = await queued();
      const [line] = await due();
      assert(line);
      const at = { dueAtMs: nowMs + 3_600_000, publishedAtMs: nowMs };
      await run((rows) => rows.noteOffered(line.id, at));
      expect(await due()).toEqual([]);
      await run((rows) => rows.offerSoon(nodeKey('n2'), nowMs));
      expect(await due()).toEqual([]);
      await run((rows) => rows.offerSoon(nodeKey('n1'), nowMs));
      expect(await due()).toEqual([{ ...line, attempts: 1 }]);
      await run((rows) => rows.dropOutbox(row.id));
      expect(await due()).toEqual([]);
      // Both are told of lines that may be gone by then.
      await run((rows) => rows.noteOffered(line.id, at));
      await run((rows) => rows.dropOutbox(row.id));
      const again = run((rows) => rows.insertOutbox(lineOf(row)));
      await expect(again).resolves.toBeUndefined();
    });
  });

  describe('the limiter', () => {
    it('gives a slot to one of many, new or known', async () => {
      const slot = { cluster: home, bucket: 'b#0' };
      const take = (ver: number | null) => (store: CommandStore) =>
        store.transaction((rows) => rows.takeSlot({ ...slot, ver }, nowMs));
      const stores = [bench.store, bench.other, bench.store];
      const isWon = (won: boolean[]) => won.filter(Boolean).length;
      expect(isWon(await Promise.all(stores.map(take(null))))).toBe(1);
      expect(isWon(await Promise.all(stores.map(take(1))))).toBe(1);
      expect(await run((rows) => rows.limiterSlots(home, ['b#0', 'b#1']))).toEqual([
        { ...slot, tokens: 0, updated_at_ms: nowMs, ver: 2 },
      ]);
    });

    it('forgets what is older, in one cluster', async () => {
      const take = (cluster: string, bucket: string, atMs: number) =>
        run((rows) => rows.takeSlot({ cluster, bucket, ver: null }, atMs));
      await take(home, 'old', 10);
      await take(home, 'new', 20);
      await take(`${home}x`, 'old', 10);
      await run((rows) => rows.forgetSlots(home, 20));
      const left = async (cluster: string) =>
        (await run((rows) => rows.limiterSlots(cluster, ['old', 'new']))).map((row) => row.bucket);
      expect(await left(home)).toEqual(['new']);
      expect(await left(`${home}x`)).toEqual(['old']);
    });
  });

  const entryOf = (n: number) => ({
    chain: home,
    actor: 'ada',
    action: 'command.submitted',
    subject: `guest:${n}`,
    phase: 'done' as const,
    detail: { n },
    atMs: n,
  });

  describe('an audit chain', () => {
    const append = (store: CommandStore, n: number) =>
      store.transaction((rows) => appendEntry(rows, entryOf(n)));

    it('has no gap and no fork, however many write it', async () => {
      const stores = Array.from({ length: 10 }, (_, at) => (at % 2 ? bench.store : bench.other));
      const appended = await Promise.all(stores.map(append));
      const seqs = appended.map(({ seq }) => seq).sort((a, b) => a - b);
      expect(seqs).toEqual(stores.map((_, at) => at + 1));
      expect(await bench.verifyChain(home)).toEqual({ ok: true, entries: 10 });
    });

    it('keeps nothing of a transaction that failed', async () => {
      await append(bench.store, 1);
      const failing = run(async (rows) => {
        await appendEntry(rows, entryOf(2));
        throw new Error('no');
      });
      await expect(failing).rejects.toThrow('no');
      expect(await append(bench.other, 3)).toMatchObject({ seq: 2 });
      expect(await bench.verifyChain(home)).toEqual({ ok: true, entries: 2 });
    });

    it('takes an entry only behind its present head', async () => {
      expect(await run((rows) => rows.takeAuditHead(home))).toBeUndefined();
      const head = await append(bench.store, 1);
      expect(await run((rows) => rows.takeAuditHead(home))).toEqual(head);
      const row = {
        chain: home,
        seq: 2,
        at_ms: 1,
        actor: 'eve',
        action: 'a',
        subject: 's',
        phase: 'done' as const,
        opened_seq: null,
        detail: '{}',
        prev_hash: hash('0'),
        hash: hash('1'),
      };
      const appended = (change: object) =>
        run((rows) => rows.appendAuditRow({ ...row, ...change }));
      expect(await appended({})).toBe(false);
      expect(await appended({ seq: 3, prev_hash: head.hash })).toBe(false);
      await expect(appended({ seq: 1 })).rejects.toBeInstanceOf(ConflictError);
      expect(await bench.verifyChain(home)).toEqual({ ok: true, entries: 1 });
    });
  });
}
