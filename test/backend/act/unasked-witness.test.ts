import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAsked } from '../../../backend/act/asked.ts';
import { virtualClock } from '../../support/clock.ts';
import { createWorld } from './twin.ts';
import { taken } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-asked-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

describe('the word of a witness', () => {
  it('counts only where this server has asked for it, however often it is said', async () => {
    const layout = { clusters: { home: ['n1', 'n2', 'n3', 'n4'] }, guests: {} };
    const world = await createWorld({ folder, layout });
    // Those who are asked see nothing, so that only a liar could complete the proof.
    world.blindWitnesses();
    const service = world.createService();
    await service.commands.start();
    await world.boot();
    const liar = world.twin('n4');
    liar.crash();
    const id = await taken(service, { kind: 'node.shutdown', node: 'n3' });
    const { journalId } = liar;
    const lie = (n: number) =>
      liar.say(
        'report',
        {
          commandId: id,
          n,
          journalId,
          incarnation: 1,
          step: 'probed',
          role: 'witness',
          started: null,
          postcondition: true,
          detail: 'it is gone, believe me',
        },
        world.newId(),
      );
    for (let n = 1; n <= 20; n += 1) {
      lie(n);
      await world.clock.advance(5_000);
    }
    const row = await world.command(id);
    expect(row.state).not.toBe('SUCCEEDED');
    expect(row.witnesses).toContain('"gone"');
    expect(row.witnesses).not.toContain('believe me');
    expect(service.commands.counters.unaskedAnswers).toBeGreaterThan(10);
  });
});

describe('what was asked', () => {
  it('is one command of one node, and is forgotten after three minutes', async () => {
    const clock = virtualClock();
    const asked = createAsked(clock);
    asked.note('c1', 'n1');
    expect(asked.has('c1', 'n1')).toBe(true);
    expect(asked.has('c1', 'n2')).toBe(false);
    expect(asked.has('c2', 'n1')).toBe(false);
    await clock.advance(180_000);
    expect(asked.has('c1', 'n1')).toBe(true);
    await clock.advance(1);
    expect(asked.has('c1', 'n1')).toBe(false);
  });

  it('is bounded: the oldest question is forgotten first', () => {
    const asked = createAsked(virtualClock());
    for (let index = 0; index <= 8_192; index += 1) asked.note(`c${index}`, 'n1');
    expect(asked.has('c0', 'n1')).toBe(false);
    expect(asked.has('c1', 'n1')).toBe(true);
    expect(asked.has('c8192', 'n1')).toBe(true);
  });
});
