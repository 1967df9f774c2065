/**
 * Random histories of messages, losses, delays, replays, forgeries, crashes and power losses. What
 * must hold: no effect begins twice, none begins without a valid grant delivered before, a
 * tombstone is for ever, and a report number never says two things.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Claim, Offer } from '../../../broker/contract/command.ts';
import type { Signed } from '../../../broker/contract/server.ts';
import { JournalError } from '../../../daemon/command/journal.ts';
import { createRig, createSigner, node, type Rig } from './rig.ts';

const offersMax = 6;

const states = ['QUEUED', 'OFFERED', 'GRANTED', 'RUNNING', 'INDETERMINATE', 'CANCELLED'] as const;

const index = fc.nat(offersMax - 1);
const action = fc.oneof(
  { weight: 18, arbitrary: fc.record({ do: fc.constant('offer' as const), index }) },
  {
    weight: 18,
    arbitrary: fc.record({
      do: fc.constant('grant' as const),
      index,
      back: fc.constantFrom(0, 0, 0, 1, 2),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('replay' as const), which: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forge' as const), index }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('sync' as const),
      epoch: fc.integer({ min: 1, max: 3 }),
      states: fc.array(fc.option(fc.constantFrom(...states)), {
        minLength: offersMax,
        maxLength: offersMax,
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('probe' as const), index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('verdict' as const), which: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), index }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(15_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('powerLoss' as const), bytes: fc.nat(1_500) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reconnect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('hold' as const), held: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('badDisk' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stuck' as const), on: fc.boolean() }) },
);
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

type History = {
  rig: Rig;
  offers: Offer[];
  grants: Signed[];
  /** When each claim's nonce was first heard, and in which life. */
  heard: Map<string, number>;
  /** Ids whose valid grant was delivered in time. */
  permitted: Set<string>;
  said: Map<string, string>;
  refused: Set<string>;
};

async function within(history: History, work: Promise<unknown>): Promise<void> {
  // With a bad disk at its start an executor refuses to speak at all.
  const done = work.catch((error: unknown) => expect(error).toBeInstanceOf(JournalError));
  await Promise.race([done, history.rig.flush()]);
  await history.rig.flush();
}

/** A disk that took its last byte answers no more: power returns before the next step. */
async function revive(history: History): Promise<void> {
  const { rig } = history;
  if (!rig.disk.isDead()) return;
  rig.crash();
  await within(history, rig.connect());
}

function listen(history: History): void {
  const { rig, heard, said, refused } = history;
  for (const message of rig.sent.splice(0)) {
    if (message.name === 'claim') {
      if (!heard.has(message.body.nonce)) heard.set(message.body.nonce, rig.clock.monotonicMs());
      claims.get(history)?.push(message.body);
    }
    if (message.name !== 'report') continue;
    const { commandId, n, step } = message.body;
    const text = JSON.stringify(message.body);
    const key = `${commandId} ${n}`;
    expect(said.get(key) ?? text, 'one number, one report').toBe(text);
    said.set(key, text);
    if (step === 'refused') refused.add(commandId);
  }
  expect(new Set(rig.world.effects).size, 'no effect twice').toBe(rig.world.effects.length);
  for (const id of rig.world.effects) {
    expect(history.permitted.has(id), 'no effect without a valid grant').toBe(true);
    expect(refused.has(id), 'no effect beside a tombstone').toBe(false);
  }
}

const claims = new WeakMap<History, Claim[]>();

function grantFor(history: History, offer: Offer, back: number): Signed | undefined {
  const { rig, heard, permitted, grants } = history;
  const own = (claims.get(history) ?? []).filter((one) => one.commandId === offer.commandId);
  const claim = own.at(-1 - back);
  if (!claim) return undefined;
  const ageMs = rig.clock.monotonicMs() - (heard.get(claim.nonce) ?? 0);
  if (ageMs <= 10_000) permitted.add(offer.commandId);
  const body = rig.signer.sign(rig.grantOf(offer, claim, { epoch: 3 }));
  grants.push(body);
  return body;
}

async function act(history: History, one: Action): Promise<void> {
  const { rig, offers, grants } = history;
  const executor = rig.executor();
  switch (one.do) {
    case 'offer': {
      const body = offers[one.index];
      if (body) await within(history, executor.deliver({ name: 'offer', node, body }));
      return;
    }
    case 'grant': {
      const offer = offers[one.index];
      const body = offer && grantFor(history, offer, one.back);
      if (body) await within(history, executor.deliver({ name: 'grant', node, body }));
      return;
    }
    case 'replay': {
      const body = grants[one.which % Math.max(1, grants.length)];
      if (body) await within(history, executor.deliver({ name: 'grant', node, body }));
      return;
    }
    case 'forge': {
      const offer = offers[one.index];
      const claim = (claims.get(history) ?? []).findLast((c) => c.commandId === offer?.commandId);
      if (!offer || !claim) return;
      const body = {
        ...createSigner().sign(rig.grantOf(offer, claim)),
        keyId: rig.signer.key.keyId,
      };
      await within(history, executor.deliver({ name: 'grant', node, body }));
      return;
    }
    case 'sync': {
      const commands = offers.flatMap(({ commandId, kind }, at) => {
        const state = one.states[at];
        return state ? [{ commandId, kind, state }] : [];
      });
      await within(history, rig.sync({ epoch: one.epoch, commands }));
      return;
    }
    case 'probe': {
      const offer = offers[one.index];
      if (!offer) return;
      const { commandId, kind, target, args } = offer;
      const body = { commandId, kind, target, args, role: 'executor' } as const;
      await within(history, executor.deliver({ name: 'probe', node, body }));
      return;
    }
    case 'verdict': {
      const known = [...history.said.keys()][one.which % Math.max(1, history.said.size)];
      const [commandId = '', n = '1'] = (known ?? '').split(' ');
      if (known) await within(history, rig.verdict(commandId, Number(n), 'RUNNING'));
      return;
    }
    case 'cancel': {
      const offer = offers[one.index];
      if (offer) await within(history, rig.verdict(offer.commandId, 1, 'CANCELLED'));
      return;
    }
    case 'wait':
      await within(history, rig.clock.advance(one.ms));
      return;
    case 'crash':
      rig.crash();
      await within(history, rig.connect());
      return;
    case 'powerLoss':
      rig.disk.loseAfter(one.bytes);
      return;
    case 'reconnect':
      executor.connected(node, false);
      await within(history, rig.connect());
      return;
    case 'hold':
      rig.hold(one.held);
      return;
    case 'badDisk':
      rig.disk.fail('sync', 'EIO');
      return;
    case 'stuck':
    default:
      rig.world.perform = one.on
        ? () => new Promise(() => undefined)
        : async () => ({ exitCode: 0, detail: '', output: '' });
  }
}

const seen = { effects: 0, refused: 0, runs: 0 };

async function live(seed: number, actions: Action[]): Promise<void> {
  const rig = createRig({ seed });
  const offers = Array.from({ length: offersMax }, (_, at) =>
    rig.offer({ epoch: 3, ttlMs: 30_000, target: { kind: 'guest', id: String(100 + (at % 3)) } }),
  );
  const history: History = {
    rig,
    offers,
    grants: [],
    heard: new Map(),
    permitted: new Set(),
    said: new Map(),
    refused: new Set(),
  };
  claims.set(history, []);
  await rig.connect();
  for (const one of actions) {
    await act(history, one);
    await revive(history);
    listen(history);
  }
  rig.disk.fail('sync', 'EIO', 0);
  rig.crash();
  await rig.connect();
  await rig.clock.advance(120_000);
  listen(history);
  seen.runs += 1;
  seen.effects += rig.world.effects.length;
  seen.refused += history.refused.size;
}

describe('executor under random histories', () => {
  it('never starts an id twice, nor without a valid grant, nor beside a tombstone', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1_000_000),
        fc.array(action, { minLength: 5, maxLength: 60, size: 'max' }),
        live,
      ),
      { numRuns: 600 },
    );
    // The histories are only worth something when they reach both ends.
    expect(seen.effects).toBeGreaterThan(seen.runs / 4);
    expect(seen.refused).toBeGreaterThan(seen.runs / 4);
  });
});
