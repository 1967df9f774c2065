import { describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { JournalError } from '../../../daemon/command/journal.ts';
import { cancelled, type Trace } from '../../../daemon/hypervisor/port.ts';
import { WakeError, type WakeRequest } from '../../../daemon/waker/port.ts';
import { createRig, createSigner, node, type Rig } from './rig.ts';

const refusalOf = (rig: Rig, commandId: string) => {
  const refused = rig.reports(commandId).find((report) => report.step === 'refused');
  return refused?.step === 'refused' ? refused : undefined;
};
const finishOf = (rig: Rig, commandId: string) => {
  const finished = rig.reports(commandId).findLast((report) => report.step === 'finished');
  return finished?.step === 'finished' ? finished : undefined;
};

describe('executor: the straight way', () => {
  it('claims an offer, starts it when granted, and reports until the end', async () => {
    const rig = createRig();
    rig.world.handle = 'UPID:1';
    await rig.connect();
    const offer = await rig.run();
    expect(rig.world.effects).toEqual([offer.commandId]);
    expect(rig.steps(offer.commandId)).toEqual(['accepted', 'started', 'started', 'finished']);
    expect(rig.reports(offer.commandId).map(({ n }) => n)).toEqual([1, 2, 3, 4]);
    expect(finishOf(rig, offer.commandId)).toMatchObject({ exitCode: 0, postcondition: true });
    expect(rig.reports(offer.commandId)[2]).toMatchObject({ handle: 'UPID:1' });
    const claim = rig.claims(offer.commandId)[0];
    expect(claim).toMatchObject({ incarnation: 222_163_200, maxEpoch: 0 });
    expect(claim?.bootId).toBe(rig.world.description.bootId);
  });

  it('repeats a report until its verdict, and has no timer left when all is said', async () => {
    const rig = createRig();
    await rig.connect();
    const { commandId } = await rig.run();
    await rig.clock.advance(60_000);
    expect(rig.steps(commandId).filter((step) => step === 'finished').length).toBeGreaterThan(2);
    const last = finishOf(rig, commandId)?.n ?? 0;
    await rig.verdict(commandId, last, 'RUNNING');
    rig.sent.length = 0;
    await rig.clock.advance(60_000);
    expect(rig.steps(commandId)).not.toContain('finished');
    expect(rig.steps(commandId)).toContain('started');
    await rig.verdict(commandId, 1, 'SUCCEEDED');
    rig.sent.length = 0;
    await rig.clock.advance(600_000);
    expect(rig.sent).toEqual([]);
    expect(rig.clock.pending()).toBe(0);
  });

  it('sends a heartbeat every 10 s while the tool runs', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.perform = () => new Promise(() => undefined);
    const { commandId } = await rig.run();
    await rig.clock.advance(35_000);
    const beats = rig.reports(commandId).filter(({ step }) => step === 'heartbeat');
    expect(beats.map(({ n }) => n)).toEqual([3, 4, 5]);
  });

  it('aborts a tool at its time limit and still asks the world', async () => {
    const rig = createRig();
    await rig.connect();
    let isAborted = false;
    rig.world.perform = (_, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          isAborted = true;
          resolve({ exitCode: null, detail: 'killed', output: '' });
        });
      });
    rig.world.observe = async () => ({ postcondition: false, detail: 'guest is stopped' });
    const { commandId } = await rig.run({}, { timeoutMs: 5_000 });
    await rig.clock.advance(20_000);
    expect(isAborted).toBe(true);
    expect(finishOf(rig, commandId)).toMatchObject({ exitCode: null, postcondition: false });
  });

  it('ends a tool that a person calls back, says so to the driver, and still asks the world', async () => {
    const rig = createRig();
    await rig.connect();
    const reasons: unknown[] = [];
    rig.world.perform = (_, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          reasons.push(signal.reason);
          resolve({ exitCode: null, detail: 'task aborted', output: '' });
        });
      });
    rig.world.observe = async () => ({ postcondition: false, detail: 'it is still on n1' });
    const { commandId } = await rig.run();
    await rig.verdict(commandId, 2, 'RUNNING');
    expect(reasons).toEqual([]);
    await rig.verdict(commandId, 2, 'CANCELLING');
    await rig.verdict(commandId, 2, 'CANCELLING');
    await rig.clock.advance(20_000);
    expect(reasons).toEqual([cancelled]);
    const detail = 'task aborted; it is still on n1';
    expect(finishOf(rig, commandId)).toMatchObject({ postcondition: false, detail });
  });

  it('leaves a driver behind that ignores the abort', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.perform = () => new Promise(() => undefined);
    const { commandId } = await rig.run({}, { timeoutMs: 5_000 });
    await rig.clock.advance(20_000);
    expect(finishOf(rig, commandId)).toMatchObject({ exitCode: null, postcondition: true });
  });

  it('believes the world, not the tool: not before it is seen, and never a lone denial', async () => {
    const rig = createRig();
    await rig.connect();
    const answers = [null, false, false, null, false, true];
    rig.world.observe = async () => ({ postcondition: answers.shift() ?? null, detail: 'x' });
    const { commandId } = await rig.run();
    expect(finishOf(rig, commandId)).toBeUndefined();
    await rig.clock.advance(9_000);
    expect(finishOf(rig, commandId)).toBeUndefined();
    await rig.clock.advance(1_500);
    expect(finishOf(rig, commandId)).toMatchObject({ postcondition: true });
  });

  it('says that nobody saw it when the time is over, whatever a driver throws', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.perform = () => Promise.reject(new Error('no such tool'));
    rig.world.observe = () => Promise.reject(new Error('hypervisor is away'));
    const { commandId } = await rig.run({}, { timeoutMs: 8_000 });
    await rig.clock.advance(30_000);
    const detail = expect.stringMatching(/no such tool.*hypervisor is away/);
    expect(finishOf(rig, commandId)).toMatchObject({ exitCode: null, postcondition: null, detail });
  });

  it('divides only the pace of the world by timeScale', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.description.driver.simulated = true;
    rig.world.observe = async () => ({ postcondition: null, detail: '' });
    const grant = { simulated: true, timeScale: 10, timeoutMs: 10_000 };
    const { commandId } = await rig.run({}, grant);
    await rig.clock.advance(9_500);
    expect(finishOf(rig, commandId)).toBeUndefined();
    expect(rig.world.observed.length).toBeGreaterThan(40);
    await rig.clock.advance(1_000);
    expect(finishOf(rig, commandId)).toMatchObject({ postcondition: null });
  });

  it('says goodbye before it switches its host off, and waits for it no longer than 2 s', async () => {
    const rig = createRig();
    await rig.connect();
    rig.executor().onOutgoing((message) => {
      rig.sent.push(message);
      return message.name === 'goodbye' ? new Promise<void>(() => undefined) : undefined;
    });
    const shutdown = { kind: 'node.shutdown', target: { kind: 'node', id: node } } as const;
    const { commandId } = await rig.run(shutdown);
    expect(rig.sent.at(-1)).toEqual({ name: 'goodbye', node });
    expect(rig.steps(commandId)).toEqual(['accepted', 'started']);
    expect(rig.world.effects).toEqual([]);
    await rig.clock.advance(2_000);
    expect(rig.world.effects).toEqual([commandId]);
  });

  it('switches off although nobody heard the goodbye, and survives a driver that throws', async () => {
    const rig = createRig();
    await rig.connect();
    rig.executor().onOutgoing((message) => {
      rig.sent.push(message);
      return message.name === 'goodbye' ? Promise.reject(new Error('offline')) : undefined;
    });
    rig.world.perform = () => {
      throw new Error('no poweroff here');
    };
    const shutdown = { kind: 'node.shutdown', target: { kind: 'node', id: node } } as const;
    const { commandId } = await rig.run(shutdown);
    const detail = expect.stringContaining('no poweroff here');
    expect(finishOf(rig, commandId)).toMatchObject({ exitCode: null, detail });
  });

  it('wakes by the first waker that can, and never says that the target woke', async () => {
    const requests: WakeRequest[] = [];
    const broken = async () => Promise.reject(new WakeError('KR_NO_INTERFACE', 'no link'));
    const wol = async (request: WakeRequest) => {
      requests.push(request);
      return { packets: 6, detail: 'sent 6' };
    };
    const wakers = [{ name: 'ipmi', wake: broken } as const, { name: 'wol', wake: wol } as const];
    const rig = createRig({ deps: { wakers } });
    await rig.connect();
    const macs = ['52:54:00:00:00:01'];
    const wake = { kind: 'node.wake', target: { kind: 'node', id: 'n9' }, args: { macs } } as const;
    const { commandId } = await rig.run(wake);
    expect(requests).toEqual([{ node: 'n9', macs, broadcasts: [], commandId }]);
    const detail = 'wol: sent 6';
    expect(finishOf(rig, commandId)).toMatchObject({ exitCode: 0, postcondition: null, detail });
    const only = await rig.run({ ...wake, args: { macs, waker: 'ipmi' } });
    expect(finishOf(rig, only.commandId)).toMatchObject({ exitCode: 1, postcondition: null });
  });

  it('wakes only by wakers that serve the target, and refuses before the start without one', async () => {
    const woken: string[] = [];
    const serving = (name: 'ipmi' | 'wol', target: string) => ({
      name,
      serves: (asked: string) => asked === target,
      wake: async () => {
        woken.push(`${name} ${target}`);
        return { packets: 1, detail: 'sent' };
      },
    });
    const wakers = [serving('ipmi', 'n8'), serving('ipmi', 'n9'), serving('wol', 'n9')];
    const rig = createRig({ deps: { wakers } });
    await rig.connect();
    const wake = (id: string, waker?: string) =>
      rig.run({ kind: 'node.wake', target: { kind: 'node', id }, args: waker ? { waker } : {} });
    await wake('n9');
    await wake('n9', 'wol');
    expect(woken).toEqual(['ipmi n9', 'wol n9']);
    for (const { commandId } of [await wake('n7'), await wake('n8', 'wol')]) {
      expect(refusalOf(rig, commandId)).toMatchObject({ code: 'KR_NO_WAKER' });
    }
    expect(woken).toHaveLength(2);
  });

  it('works on a target one at a time, but on others meanwhile', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.perform = () => new Promise(() => undefined);
    const first = await rig.run();
    const same = await rig.run();
    const other = await rig.run({ target: { kind: 'guest', id: '101' } });
    expect(rig.world.effects).toEqual([first.commandId, other.commandId]);
    expect(refusalOf(rig, same.commandId)).toMatchObject({ code: 'KR_TARGET_BUSY' });
  });

  it('frees a target when its command has ended', async () => {
    const rig = createRig();
    await rig.connect();
    const first = await rig.run();
    const second = await rig.run();
    expect(rig.world.effects).toEqual([first.commandId, second.commandId]);
  });

  it('serves many nodes side by side', async () => {
    const nodes = Array.from({ length: 32 }, (_, index) => `m${index}`);
    const rig = createRig({ nodes });
    for (const one of nodes) await rig.connect(one);
    const offers = nodes.map((one, index) => {
      const target = { kind: 'guest', id: String(200 + index) } as const;
      return { one, offer: rig.offer({ target }) };
    });
    await Promise.all(offers.map(({ one, offer }) => rig.give(offer, one)));
    for (const { one, offer } of offers) {
      const claim = rig.claims(offer.commandId)[0];
      await rig.grant(rig.grantOf(offer, claim ?? { nonce: '' }, { node: one }), one);
    }
    expect(rig.world.effects.length).toBe(32);
    expect(new Set(rig.world.effects).size).toBe(32);
  });
});

describe('executor: duplicates, loss and delay', () => {
  it('starts once although every message comes three times', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    for (let time = 0; time < 3; time += 1) await rig.give(offer);
    const claims = rig.claims(offer.commandId);
    expect(claims).toHaveLength(1);
    const grant = rig.grantOf(offer, claims[0] ?? { nonce: '' });
    for (let time = 0; time < 3; time += 1) await rig.grant(grant);
    for (let time = 0; time < 3; time += 1) await rig.give(offer);
    await rig.grant(grant);
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('claims again with the same nonce, then with a new one, until the offer is void', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer({ ttlMs: 60_000 });
    await rig.give(offer);
    await rig.clock.advance(4_000);
    const early = rig.claims(offer.commandId);
    expect(early.length).toBeGreaterThan(1);
    expect(new Set(early.map(({ nonce }) => nonce)).size).toBe(1);
    await rig.clock.advance(50_000);
    const nonces = new Set(rig.claims(offer.commandId).map(({ nonce }) => nonce));
    expect(nonces.size).toBeGreaterThan(2);
    expect(rig.steps(offer.commandId)).toEqual([]);
    await rig.clock.advance(10_000);
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_OFFER_EXPIRED' });
    const last = rig.claims(offer.commandId).at(-1) ?? { nonce: '' };
    await rig.grant(rig.grantOf(offer, last));
    expect(rig.world.effects).toEqual([]);
  });

  it('starts by the grant for a repeated claim when the first grant was lost', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    await rig.clock.advance(25_000);
    const last = rig.claims(offer.commandId).at(-1) ?? { nonce: '' };
    await rig.grant(rig.grantOf(offer, last));
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('ignores a grant that comes later than 10 s after its claim', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    const claim = rig.claims(offer.commandId)[0] ?? { nonce: '' };
    rig.executor().connected(node, false);
    await rig.clock.advance(10_001);
    await rig.grant(rig.grantOf(offer, claim));
    expect(rig.world.effects).toEqual([]);
  });

  it('accepts a grant at the last moment of its 10 s', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    const claim = rig.claims(offer.commandId)[0] ?? { nonce: '' };
    rig.executor().connected(node, false);
    await rig.clock.advance(10_000);
    await rig.grant(rig.grantOf(offer, claim));
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('ignores a grant without offer, with a wrong nonce, and one for another command', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.grant(rig.grantOf(offer, { nonce: 'a'.repeat(32) }));
    await rig.give(offer);
    await rig.grant(rig.grantOf(offer, { nonce: 'a'.repeat(32) }));
    const claim = rig.claims(offer.commandId)[0] ?? { nonce: '' };
    await rig.grant(rig.grantOf(rig.offer(), claim));
    expect(rig.world.effects).toEqual([]);
    await rig.grant(rig.grantOf(offer, claim));
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('says everything again in a new session', async () => {
    const rig = createRig();
    await rig.connect();
    const { commandId } = await rig.run();
    rig.executor().connected(node, false);
    rig.sent.length = 0;
    await rig.clock.advance(120_000);
    expect(rig.sent).toEqual([]);
    await rig.connect();
    expect(rig.steps(commandId)).toEqual(['accepted', 'started', 'finished']);
  });

  it('keeps no more waiting offers of a node than a sync can list', async () => {
    const rig = createRig();
    await rig.connect();
    const offers = Array.from({ length: 70 }, () => rig.offer());
    await Promise.all(offers.map((body) => rig.executor().deliver({ name: 'offer', node, body })));
    await rig.flush();
    expect(new Set(rig.claims().map(({ commandId }) => commandId)).size).toBe(64);
    expect((await rig.executor().introduce(node)).openCommands).toHaveLength(64);
  });
});

describe('executor: whom it believes', () => {
  it('accepts no grant of which a single byte changed, in content or signature', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    const claim = rig.claims(offer.commandId)[0] ?? { nonce: '' };
    const good = rig.signer.sign(rig.grantOf(offer, claim));
    const executor = rig.executor();
    let tried = 0;
    for (const field of ['signed', 'signature', 'keyId'] as const) {
      const bytes = Buffer.from(good[field], 'latin1');
      for (let at = 0; at < bytes.length; at += 1) {
        for (const bit of [0, 1, 3, 6]) {
          const bad = Buffer.from(bytes);
          bad[at] = (bad[at] ?? 0) ^ (1 << bit);
          const body = { ...good, [field]: bad.toString('latin1') };
          await executor.deliver({ name: 'grant', node, body });
          tried += 1;
        }
      }
    }
    await rig.flush();
    expect(tried).toBeGreaterThan(1_000);
    expect(rig.world.effects).toEqual([]);
    await executor.deliver({ name: 'grant', node, body: good });
    await rig.flush();
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it.each([
    ['another node', { node: 'n2' }],
    ['another cluster', { cluster: 'away' }],
    ['another type', { type: 'sync' }],
    ['an unknown key in the content', { more: 1 }],
    ['an unknown kind', { kind: 'guest.explode' }],
  ])('refuses a grant with %s, although it is signed', async (_, more) => {
    const rig = createRig();
    await rig.connect();
    const offer = await rig.run({}, more);
    expect(rig.world.effects).toEqual([]);
    expect(rig.log.lines.some(({ message }) => message === 'grant dropped')).toBe(true);
    expect(rig.steps(offer.commandId)).toEqual([]);
  });

  it('refuses a grant of an unknown signer and takes one of either key of a rotation', async () => {
    const second = createSigner();
    const rig = createRig();
    const rotating = createRig({ deps: { serverKeys: () => [rig.signer.key, second.key] } });
    for (const [one, count] of [
      [rig, 0],
      [rotating, 1],
    ] as const) {
      await one.connect();
      const offer = one.offer();
      await one.give(offer);
      const claim = one.claims(offer.commandId)[0] ?? { nonce: '' };
      const body = second.sign(one.grantOf(offer, claim));
      await one.executor().deliver({ name: 'grant', node, body });
      await one.flush();
      expect(one.world.effects).toHaveLength(count);
    }
  });

  it('takes no signed word of one type for another', async () => {
    const rig = createRig();
    await rig.connect();
    const { session } = rig;
    const grant = rig.signer.sign(rig.grantOf(rig.offer(), { nonce: 'a'.repeat(32) }));
    const sync = rig.signer.sign(rig.syncOf());
    const executor = rig.executor();
    expect(await executor.deliver({ name: 'sync', node, session, body: grant })).toBeUndefined();
    await executor.deliver({ name: 'grant', node, body: sync });
    await executor.deliver({ name: 'server', body: sync });
    expect(rig.log.lines.map(({ message }) => message)).toEqual([
      'sync dropped',
      'grant dropped',
      'server description dropped',
    ]);
  });

  it('answers a sync of this session, and none of another session or node', async () => {
    const rig = createRig();
    await rig.connect();
    const stored = { storedIncarnation: 1, storedSeq: 7, intervalMs: 5_000 };
    expect(await rig.sync()).toEqual(stored);
    expect(await rig.sync({ session: rig.newId() })).toBeUndefined();
    expect(await rig.sync({ node: 'n2' })).toBeUndefined();
    expect(await rig.sync({ cluster: 'away' })).toBeUndefined();
  });

  it('drops what is meant for a node it does not serve', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.give(rig.offer(), 'stranger');
    expect(rig.claims()).toEqual([]);
  });

  it('never obeys a lower epoch than the highest signed one, also after a restart', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.sync({ epoch: 5 });
    const waiting = rig.offer({ epoch: 6 });
    await rig.give(waiting);
    const claim = rig.claims(waiting.commandId)[0];
    expect(claim?.maxEpoch).toBe(5);
    await rig.grant(rig.grantOf(waiting, claim ?? { nonce: '' }, { epoch: 4 }));
    expect(rig.world.effects).toEqual([]);
    rig.crash();
    expect((await rig.connect()).maxEpoch).toBe(5);
    await rig.give(rig.offer({ epoch: 4 }));
    expect(rig.claims()).toHaveLength(1);
    expect(await rig.sync({ epoch: 4 })).toBeUndefined();
    const right = await rig.run({ epoch: 5 });
    expect(rig.world.effects).toEqual([right.commandId]);
  });

  it('lets no unsigned offer raise the highest epoch', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.give(rig.offer({ epoch: 1_000_000 }));
    const offer = await rig.run({ epoch: 1, target: { kind: 'guest', id: '7' } });
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('starts nothing when the epoch grows while the guards look', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    const claim = rig.claims(offer.commandId)[0] ?? { nonce: '' };
    const body = rig.signer.sign(rig.grantOf(offer, claim));
    const { session } = rig;
    const commands = [{ commandId: offer.commandId, kind: offer.kind, state: 'GRANTED' }] as const;
    const sync = rig.signer.sign(rig.syncOf({ epoch: 9, commands: [...commands] }));
    const executor = rig.executor();
    await Promise.all([
      executor.deliver({ name: 'grant', node, body }),
      executor.deliver({ name: 'sync', node, session, body: sync }),
    ]);
    await rig.flush();
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_EPOCH' });
    expect(rig.world.effects).toEqual([]);
  });
});

describe('executor: local guards', () => {
  it.each([
    ['HOLD file', 'KR_HOLD', (rig: Rig) => rig.hold(true)],
    ['local policy', 'KR_LOCAL_POLICY', (rig: Rig) => rig.policy({ allow: ['guest.stop'] })],
    [
      'capability list',
      'KR_NOT_CAPABLE',
      (rig: Rig) => void (rig.world.description.driver.capabilities = []),
    ],
  ])('denies by %s before the claim, durably', async (_, code, set) => {
    const rig = createRig();
    await rig.connect();
    set(rig);
    const offer = await rig.run();
    expect(rig.claims()).toEqual([]);
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code });
    rig.crash();
    rig.sent.length = 0;
    await rig.connect();
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code });
    rig.hold(false);
    await rig.give(offer);
    expect(rig.claims()).toEqual([]);
  });

  it('refuses what was granted but not started when HOLD comes between', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.perform = () => new Promise(() => undefined);
    const running = await rig.run();
    const offer = rig.offer({ target: { kind: 'guest', id: '101' } });
    await rig.give(offer);
    rig.hold(true);
    await rig.grant(rig.grantOf(offer, rig.claims(offer.commandId)[0] ?? { nonce: '' }));
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_HOLD' });
    expect(rig.world.effects).toEqual([running.commandId]);
    expect((await rig.executor().introduce(node)).localHold).toBe(true);
    await rig.clock.advance(11_000);
    expect(rig.steps(running.commandId)).toContain('heartbeat');
  });

  it('obeys the newest HOLD of the server, by description or sync', async () => {
    const rig = createRig();
    await rig.connect();
    const serverId = rig.newId();
    const tell = async (version: number, hold: object) => {
      const content = { v: 1, type: 'server', serverId, keyIds: [rig.signer.key.keyId], hold };
      const body = rig.signer.sign({ ...content, version });
      await rig.executor().deliver({ name: 'server', body });
    };
    const isHeld = async () => {
      const { commandId } = await rig.run();
      return refusalOf(rig, commandId)?.code === 'KR_HOLD';
    };
    await tell(2, { all: true, clusters: [] });
    expect(await isHeld()).toBe(true);
    await tell(1, { all: false, clusters: [] });
    expect(await isHeld()).toBe(true);
    await rig.sync({ hold: false });
    expect(await isHeld()).toBe(true);
    await tell(3, { all: false, clusters: ['away'] });
    expect(await isHeld()).toBe(false);
    await rig.sync({ hold: true });
    expect(await isHeld()).toBe(true);
    await rig.sync({ hold: false });
    expect(await isHeld()).toBe(false);
    await tell(4, { all: false, clusters: ['home'] });
    expect(await isHeld()).toBe(true);
  });

  it.each([
    [false, true],
    [true, false],
  ])('refuses a grant of the other world (driver simulated: %s)', async (driver, grant) => {
    const rig = createRig();
    await rig.connect();
    rig.world.description.driver.simulated = driver;
    const offer = await rig.run({}, { simulated: grant });
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_SIMULATED' });
    expect(rig.world.effects).toEqual([]);
  });

  it('only observes when told so', async () => {
    const rig = createRig({ deps: { observeOnly: true } });
    await rig.connect();
    const offer = await rig.run();
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_OBSERVE_ONLY' });
  });

  it('introduces itself as held when nobody can tell within 5 s', async () => {
    const rig = createRig({ deps: { isHeld: () => new Promise(() => undefined) } });
    const introduced = rig.executor().introduce(node);
    await rig.flush();
    await rig.clock.advance(5_000);
    expect((await introduced).localHold).toBe(true);
  });

  it.each([
    [
      'HOLD file',
      'KR_HOLD',
      {
        isHeld: () => {
          throw new Error('EIO');
        },
      },
    ],
    ['HOLD file', 'KR_HOLD', { isHeld: () => Promise.reject(new Error('EIO')) }],
    [
      'local policy',
      'KR_LOCAL_POLICY',
      {
        readPolicy: () => {
          throw new Error('EIO');
        },
      },
    ],
  ])('denies, and says so, when the %s cannot be read (%s)', async (_, code, deps) => {
    const rig = createRig({ deps });
    await rig.connect();
    const offer = await rig.run();
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code });
    expect(rig.world.effects).toEqual([]);
  });

  it('denies, and says so, when the hypervisor throws instead of describing', async () => {
    const rig = createRig();
    await rig.connect();
    const { description } = rig.world;
    Object.defineProperty(rig.world, 'description', {
      get: () => {
        throw new Error('no such tool');
      },
    });
    const { commandId } = await rig.run();
    expect(refusalOf(rig, commandId)?.code).toMatch(/^KR_/);
    expect(rig.world.effects).toEqual([]);
    Object.defineProperty(rig.world, 'description', { value: description });
    const later = await rig.run();
    expect(rig.world.effects).toEqual([later.commandId]);
  });

  it('denies when facts do not come in time', async () => {
    let isStuck = false;
    const readPolicy = () =>
      isStuck
        ? new Promise<never>(() => undefined)
        : Promise.resolve({ ok: true as const, policy: { allow: null, protected: false } });
    const rig = createRig({ deps: { readPolicy } });
    await rig.connect();
    isStuck = true;
    const offer = await rig.run();
    expect(rig.claims()).toEqual([]);
    await rig.clock.advance(5_000);
    await rig.flush();
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_LOCAL_POLICY' });
  });
});

describe('executor: the journal', () => {
  it('is not opened before it is needed', () => {
    const rig = createRig();
    rig.start();
    expect(rig.disk.names()).toEqual([]);
    expect(rig.clock.pending()).toBe(0);
  });

  it('starts nothing when STARTED could not be made durable, and nothing ever after', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.sync();
    const offer = rig.offer();
    await rig.give(offer);
    rig.disk.fail('sync', 'EIO');
    await rig.grant(rig.grantOf(offer, rig.claims(offer.commandId)[0] ?? { nonce: '' }));
    expect(rig.world.effects).toEqual([]);
    await rig.run({ target: { kind: 'guest', id: '101' } });
    await rig.clock.advance(120_000);
    expect(rig.world.effects).toEqual([]);
    expect((await rig.executor().introduce(node)).localHold).toBe(true);
    expect(await rig.sync()).toMatchObject({ storedSeq: 7 });
    expect(rig.clock.pending()).toBe(0);
  });

  it('rejects introduction and messages when its folder cannot hold it', async () => {
    const rig = createRig();
    rig.disk.fail('append', 'EROFS');
    await expect(rig.executor().introduce(node)).rejects.toBeInstanceOf(JournalError);
    const delivered = rig.executor().deliver({ name: 'offer', node, body: rig.offer() });
    await expect(delivered).rejects.toThrow(/EROFS/);
    await rig.executor().close();
  });

  it('finishes what runs on a full disk, refuses what is new, and recovers by itself', async () => {
    const rig = createRig();
    await rig.connect();
    let end = (): void => undefined;
    rig.world.perform = () =>
      new Promise((resolve) => {
        end = () => resolve({ exitCode: 0, detail: '', output: '' });
      });
    const running = await rig.run();
    rig.disk.fail('append', 'ENOSPC');
    rig.disk.fail('preallocate', 'ENOSPC', 2);
    end();
    await rig.flush();
    expect(finishOf(rig, running.commandId)).toMatchObject({ postcondition: true });
    const refused = await rig.run();
    expect(refusalOf(rig, refused.commandId)).toMatchObject({ code: 'KR_DISK_FULL' });
    rig.disk.fail('preallocate', 'ENOSPC', 0);
    const later = await rig.run();
    expect(rig.world.effects).toEqual([running.commandId, later.commandId]);
  });

  it('refuses what is new on a disk that takes nothing and gives nothing back', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.disk.files().remove('journal.reserve');
    rig.disk.fail('preallocate', 'EIO');
    rig.disk.fail('remove', 'EIO');
    const refused = await rig.run();
    expect(refusalOf(rig, refused.commandId)).toMatchObject({ code: 'KR_DISK_FULL' });
    expect(rig.world.effects).toEqual([]);
    rig.disk.fail('preallocate', 'EIO', 0);
    const later = await rig.run();
    expect(rig.world.effects).toEqual([later.commandId]);
  });

  it('denies destructive kinds after a corruption until somebody removes the old journal', async () => {
    const rig = createRig();
    const before = await rig.connect();
    const { commandId } = await rig.run();
    const bad = Buffer.from(rig.disk.content('journal') ?? []);
    bad[60] = (bad[60] ?? 0) ^ 1;
    rig.crash();
    rig.disk.write('journal', bad);
    const after = await rig.connect();
    expect(after.journalId).not.toBe(before.journalId);
    const stop = { kind: 'guest.stop', target: { kind: 'guest', id: '5' } } as const;
    const denied = await rig.run(stop);
    expect(refusalOf(rig, denied.commandId)).toMatchObject({ code: 'KR_JOURNAL_QUARANTINED' });
    rig.disk.fail('exists', 'EIO');
    const unsure = await rig.run(stop);
    expect(refusalOf(rig, unsure.commandId)).toMatchObject({ code: 'KR_JOURNAL_QUARANTINED' });
    rig.disk.fail('exists', 'EIO', 0);
    const harmless = await rig.run();
    const name = rig.disk.names().find((one) => one.includes('quarantined')) ?? '';
    await rig.disk.files().remove(name);
    const confirmed = await rig.run(stop);
    expect(rig.world.effects).toEqual([commandId, harmless.commandId, confirmed.commandId]);
  });
});

describe('executor: crash and restart', () => {
  const stuck = (rig: Rig) => {
    rig.world.perform = () => new Promise(() => undefined);
  };

  it('never runs a started command again: it looks at the world and says what it saw', async () => {
    const rig = createRig();
    await rig.connect();
    stuck(rig);
    const offer = await rig.run();
    rig.crash();
    rig.sent.length = 0;
    const { openCommands } = await rig.connect();
    expect(openCommands).toMatchObject([{ commandId: offer.commandId, phase: 'started' }]);
    await rig.give(offer);
    expect(rig.world.effects).toEqual([offer.commandId]);
    expect(finishOf(rig, offer.commandId)).toMatchObject({ exitCode: null, postcondition: true });
    expect(finishOf(rig, offer.commandId)?.n).toBeGreaterThan(65_536);
    expect(rig.claims()).toEqual([]);
  });

  it('joins a running task again by its handle', async () => {
    const rig = createRig();
    await rig.connect();
    stuck(rig);
    rig.world.handle = 'UPID:77';
    const offer = await rig.run();
    rig.crash();
    rig.world.perform = async () => ({ exitCode: 0, detail: 'migrated', output: '' });
    const { openCommands } = await rig.connect();
    expect(openCommands).toMatchObject([{ handle: 'UPID:77' }]);
    expect(rig.world.attached).toEqual(['UPID:77']);
    expect(rig.world.effects).toEqual([offer.commandId]);
    expect(finishOf(rig, offer.commandId)).toMatchObject({ exitCode: 0, postcondition: true });
  });

  it("calls a task back that it has joined again, though its tool is nobody's child", async () => {
    const rig = createRig();
    await rig.connect();
    stuck(rig);
    rig.world.handle = 'UPID:77';
    const { commandId } = await rig.run();
    rig.crash();
    const reasons: unknown[] = [];
    rig.world.perform = (_, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          reasons.push(signal.reason);
          resolve({ exitCode: 1, detail: 'migration aborted', output: '' });
        });
      });
    rig.world.observe = async () => ({ postcondition: false, detail: 'it is still on n1' });
    await rig.connect();
    expect(rig.world.attached).toEqual(['UPID:77']);
    await rig.verdict(commandId, 2, 'CANCELLING');
    await rig.clock.advance(20_000);
    expect(reasons).toEqual([cancelled]);
    expect(finishOf(rig, commandId)).toMatchObject({ exitCode: 1, postcondition: false });
    expect(rig.world.effects).toEqual([commandId]);
  });

  it('seeks the task whose name it had no time to write down, and joins it', async () => {
    const rig = createRig();
    await rig.connect();
    rig.world.handle = 'UPID:old';
    const earlier = await rig.run();
    rig.world.handle = null;
    stuck(rig);
    const startedAtMs = rig.clock.wallMs();
    const offer = await rig.run({ target: { kind: 'guest', id: '101' } });
    const begun = [earlier.commandId, offer.commandId];
    expect(rig.world.effects).toEqual(begun);
    rig.crash();
    const traces: Trace[] = [];
    rig.world.find = (trace) => {
      traces.push(trace);
      return 'UPID:78';
    };
    rig.world.perform = async () => ({ exitCode: 0, detail: 'migrated', output: '' });
    await rig.connect();
    expect(traces.map(({ otherHandles }) => [...otherHandles])).toEqual([['UPID:old']]);
    expect(traces[0]?.startedAtWallMs).toBeGreaterThanOrEqual(startedAtMs);
    expect(rig.world.attached).toEqual(['UPID:78']);
    expect(rig.world.effects).toEqual(begun);
    expect(finishOf(rig, offer.commandId)).toMatchObject({ exitCode: 0, postcondition: true });
    expect(rig.reports(offer.commandId)).toContainEqual(
      expect.objectContaining({ handle: 'UPID:78' }),
    );
  });

  it.each([
    ['another boot id proves that the host went down', '2', true],
    ['the same boot id proves nothing, so the world is asked', '1', false],
  ])('after a shutdown command %s', async (_, boot, postcondition) => {
    const rig = createRig();
    await rig.connect();
    stuck(rig);
    const shutdown = { kind: 'node.shutdown', target: { kind: 'node', id: node } } as const;
    const { commandId } = await rig.run(shutdown);
    rig.crash();
    rig.world.description.bootId = `00000000-0000-4000-8000-00000000000${boot}`;
    rig.world.observe = async () => ({ postcondition: false, detail: 'host is up' });
    await rig.connect();
    await rig.clock.advance(20_000);
    expect(finishOf(rig, commandId)).toMatchObject({ postcondition });
    expect(rig.world.effects).toEqual([commandId]);
  });

  it('asks all guards once more before the tool, and calls what never began over at once', async () => {
    const rig = createRig();
    await rig.connect();
    const asked: (string | null | undefined)[] = [];
    rig.world.perform = async (_work, context) => {
      asked.push(await context.heldBy?.());
      const busy = [{ what: 'session', detail: 'ada' }];
      const facts = NodeFacts.parse({ ...rig.world.description.facts, busy });
      rig.world.description = { ...rig.world.description, facts };
      asked.push(await context.heldBy?.());
      return { exitCode: null, detail: 'not started', output: '', neverBegan: true };
    };
    rig.world.observe = async () => ({ postcondition: null, detail: 'still answers' });
    const shutdown = { kind: 'node.shutdown', target: { kind: 'node', id: node } } as const;
    const { commandId } = await rig.run(shutdown);
    await rig.flush();
    expect(asked).toEqual([null, 'KR_BUSY: session is at work here']);
    expect(finishOf(rig, commandId)).toMatchObject({ postcondition: false, detail: 'not started' });
    expect(rig.world.observed).toEqual([]);
  });

  it('repeats an outcome after a restart until its verdict, with the same number', async () => {
    const rig = createRig();
    await rig.connect();
    const { commandId } = await rig.run();
    const first = finishOf(rig, commandId);
    rig.crash();
    rig.sent.length = 0;
    await rig.connect();
    expect(rig.reports(commandId)).toEqual([first]);
    await rig.verdict(commandId, first?.n ?? 0, 'SUCCEEDED');
    rig.crash();
    rig.sent.length = 0;
    expect((await rig.connect()).openCommands).toEqual([]);
    await rig.clock.advance(120_000);
    expect(rig.sent).toEqual([]);
    expect(rig.clock.pending()).toBe(0);
  });

  it('forgets a claim in a crash: the old grant is void, a new offer is claimed anew', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    const old = rig.claims(offer.commandId)[0] ?? { nonce: '' };
    rig.crash();
    await rig.connect();
    await rig.grant(rig.grantOf(offer, old));
    expect(rig.world.effects).toEqual([]);
    await rig.give(offer);
    const claims = rig.claims(offer.commandId);
    expect(claims).toHaveLength(2);
    expect(claims[1]?.nonce).not.toBe(old.nonce);
    await rig.grant(rig.grantOf(offer, claims[1] ?? { nonce: '' }));
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('counts its starts', async () => {
    const rig = createRig();
    const { incarnation } = await rig.connect();
    rig.crash();
    expect((await rig.connect()).incarnation).toBe(incarnation + 1);
  });

  it('starts at most once wherever in the journal the power fails', async () => {
    const whole = createRig();
    await whole.connect();
    await whole.run();
    const total = whole.disk.appendedBytes();
    for (let bytes = 0; bytes < total; bytes += 5) {
      const rig = createRig({ seed: bytes + 1 });
      rig.disk.loseAfter(bytes);
      const offer = rig.offer();
      const life = async () => {
        await rig.connect();
        await rig.give(offer);
        const claim = rig.claims(offer.commandId).at(-1);
        if (claim) await rig.grant(rig.grantOf(offer, claim));
      };
      await Promise.race([life(), rig.flush()]);
      await rig.flush();
      const before = rig.world.effects.length;
      rig.crash();
      await life();
      await rig.clock.advance(30_000);
      expect(rig.world.effects, `cut at ${bytes}`).toEqual([offer.commandId]);
      expect(before).toBeLessThanOrEqual(1);
      expect(rig.steps(offer.commandId), `cut at ${bytes}`).toContain('finished');
    }
  });
});

describe('executor: what the server asks', () => {
  const listed = (offer: { commandId: string }, state: 'GRANTED' | 'OFFERED' | 'CANCELLED') => ({
    commands: [{ commandId: offer.commandId, kind: 'guest.start' as const, state }],
  });

  it('buries what the server believes granted and this journal has never seen', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.sync(listed(offer, 'GRANTED'));
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_NEVER_SEEN', n: 1 });
    rig.crash();
    await rig.connect();
    await rig.give(offer);
    expect(rig.claims()).toEqual([]);
    expect(rig.world.effects).toEqual([]);
  });

  it('leaves alone what the server only offers', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.sync(listed(offer, 'OFFERED'));
    expect(rig.steps(offer.commandId)).toEqual([]);
    await rig.give(offer);
    expect(rig.claims()).toHaveLength(1);
  });

  it('refuses what it had received but not started before a restart, if believed granted', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    await rig.sync(listed(offer, 'GRANTED'));
    expect(rig.steps(offer.commandId)).toEqual([]);
    rig.crash();
    await rig.connect();
    await rig.sync(listed(offer, 'GRANTED'));
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_NOT_STARTED' });
  });

  it.each(['absent', 'CANCELLED'] as const)(
    'forgets the unstarted that a sync calls %s, and stops claiming',
    async (state) => {
      const rig = createRig();
      await rig.connect();
      const offer = rig.offer();
      await rig.give(offer);
      await rig.connect();
      const claim = rig.claims(offer.commandId).at(-1) ?? { nonce: '' };
      await rig.sync(state === 'absent' ? {} : listed(offer, state));
      rig.sent.length = 0;
      await rig.clock.advance(60_000);
      expect(rig.sent).toEqual([]);
      await rig.grant(rig.grantOf(offer, claim));
      expect(rig.world.effects).toEqual([]);
    },
  );

  it('does not miss in a sync what was offered after its session began', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    await rig.executor().introduce(node);
    await rig.sync();
    await rig.grant(rig.grantOf(offer, rig.claims(offer.commandId)[0] ?? { nonce: '' }));
    expect(rig.world.effects).toEqual([offer.commandId]);
  });

  it('forgets after a restart what it had received and a sync no longer lists', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    rig.crash();
    await rig.connect();
    await rig.sync();
    expect((await rig.executor().introduce(node)).openCommands).toEqual([]);
    expect(rig.steps(offer.commandId)).toEqual([]);
  });

  it('stops reporting an outcome that a sync shows to be settled', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.run();
    rig.executor().connected(node, false);
    await rig.connect();
    await rig.sync();
    rig.sent.length = 0;
    await rig.clock.advance(120_000);
    expect(rig.sent).toEqual([]);
  });

  it('ends a claim when a verdict says that the command is over', async () => {
    const rig = createRig();
    await rig.connect();
    const offer = rig.offer();
    await rig.give(offer);
    await rig.verdict(offer.commandId, 1, 'CANCELLED');
    await rig.grant(rig.grantOf(offer, rig.claims(offer.commandId)[0] ?? { nonce: '' }));
    expect(rig.world.effects).toEqual([]);
    expect(rig.clock.pending()).toBe(0);
  });

  const probe = (rig: Rig, commandId: string, role: 'executor' | 'witness', at = node) => {
    const target = { kind: 'guest', id: '100' } as const;
    const body = { commandId, kind: 'guest.start', target, args: {}, role } as const;
    return rig.executor().deliver({ name: 'probe', node: at, body });
  };

  it.each([
    ['what its network shows where the driver cannot tell', null, true],
    ['what the driver saw, whatever its network shows', false, false],
  ])('says as a witness %s', async (_what, driverSays, postcondition) => {
    const rig = createRig();
    await rig.connect();
    rig.world.observe = async () => ({ postcondition: driverSays, detail: 'the driver' });
    const commandId = rig.newId();
    const target = { kind: 'node', id: 'n9' } as const;
    const asked = { commandId, kind: 'node.shutdown', target, args: {}, role: 'witness' } as const;
    const reach = { postcondition: true, detail: 'the network' };
    await rig.executor().deliver({ name: 'probe', node, body: asked, reach });
    await rig.flush();
    expect(rig.reports(commandId)).toMatchObject([
      { step: 'probed', role: 'witness', started: null, postcondition },
    ]);
  });

  it('answers a probe of what it never saw, or has not started, with a tombstone', async () => {
    const rig = createRig();
    await rig.connect();
    const never = rig.newId();
    await probe(rig, never, 'executor');
    expect(refusalOf(rig, never)).toMatchObject({ code: 'KR_NEVER_SEEN' });
    const offer = rig.offer();
    await rig.give(offer);
    await probe(rig, offer.commandId, 'executor');
    expect(refusalOf(rig, offer.commandId)).toMatchObject({ code: 'KR_NOT_STARTED' });
    await rig.grant(rig.grantOf(offer, rig.claims(offer.commandId)[0] ?? { nonce: '' }));
    expect(rig.world.effects).toEqual([]);
  });

  it('answers a probe of what runs or ended with its journal and a fresh look', async () => {
    const rig = createRig();
    await rig.connect();
    const { commandId } = await rig.run();
    rig.world.observe = async () => ({ postcondition: false, detail: 'stopped since' });
    await probe(rig, commandId, 'executor');
    await rig.flush();
    const last = rig.reports(commandId).at(-1);
    expect(last).toMatchObject({ step: 'probed', started: true, postcondition: false });
    expect(last?.n).toBeGreaterThan(finishOf(rig, commandId)?.n ?? 0);
  });

  it('looks at the world as a witness without touching its journal', async () => {
    const rig = createRig();
    await rig.connect();
    const { commandId } = await rig.run();
    await rig.connect('n2');
    const before = rig.disk.content('journal');
    await probe(rig, commandId, 'witness', 'n2');
    await rig.flush();
    const seen = rig.sent.filter((one) => one.name === 'report' && one.node === 'n2');
    expect(seen).toMatchObject([
      { body: { step: 'probed', role: 'witness', started: null, postcondition: true } },
    ]);
    expect(rig.disk.content('journal')).toEqual(before);
  });

  it('never serves one id on two nodes', async () => {
    const rig = createRig();
    await rig.connect();
    await rig.connect('n2');
    const offer = await rig.run();
    await rig.give(offer, 'n2');
    expect(rig.claims(offer.commandId)).toHaveLength(1);
  });

  it('goes silent when closed, and leaves what runs to the next start', async () => {
    const rig = createRig();
    await rig.connect();
    let end = (): void => undefined;
    rig.world.perform = () =>
      new Promise((resolve) => {
        end = () => resolve({ exitCode: 0, detail: '', output: '' });
      });
    const { commandId } = await rig.run();
    await rig.executor().close();
    rig.sent.length = 0;
    end();
    await rig.clock.advance(30_000);
    expect(rig.sent).toEqual([]);
    rig.crash();
    await rig.connect();
    expect(finishOf(rig, commandId)).toMatchObject({ postcondition: true });
    expect(rig.world.effects).toEqual([commandId]);
  });
});
