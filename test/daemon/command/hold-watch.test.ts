import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { watchHold } from '../../../daemon/command/hold-watch.ts';
import { holdFile } from '../../../daemon/command/local-policy.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { until } from '../../support/servers.ts';
import { realClock } from './socket/house.ts';
import { createRig, type Rig } from './rig.ts';

const shutdown = { kind: 'node.shutdown', target: { kind: 'node', id: 'n1' } } as const;

const endOf = (rig: Rig, commandId: string) => rig.reports(commandId).at(-1);

describe('HOLD of this machine, while a command is at work', () => {
  it('stops a power-off during its goodbye, and the node stays on', async () => {
    const rig = createRig();
    await rig.connect();
    const said: string[] = [];
    rig.executor().onOutgoing((message) => {
      rig.sent.push(message);
      said.push(message.name);
      if (message.name === 'goodbye') rig.hold(true);
    });
    const { commandId } = await rig.run(shutdown);
    await rig.flush();
    expect(said).toContain('goodbye');
    expect(rig.world.effects).toEqual([]);
    expect(endOf(rig, commandId)).toMatchObject({
      step: 'finished',
      postcondition: false,
      detail: 'not begun: the HOLD file of this machine stands',
    });
  });

  it('is seen between the last judgement and the start', async () => {
    let looks = 0;
    // Twice the guards look; the third look is the one directly before the tool.
    const rig = createRig({ deps: { isHeld: async () => (looks += 1) > 2 } });
    await rig.connect();
    looks = 0;
    const { commandId } = await rig.run();
    expect(looks).toBe(3);
    expect(rig.world.effects).toEqual([]);
    expect(endOf(rig, commandId)).toMatchObject({ step: 'finished', exitCode: null });
  });

  it('counts as standing when the look before the start does not answer', async () => {
    let looks = 0;
    const never = new Promise<boolean>(() => undefined);
    const isHeld = () => ((looks += 1) > 2 ? never : Promise.resolve(false));
    const rig = createRig({ deps: { isHeld } });
    await rig.connect();
    looks = 0;
    const { commandId } = await rig.run();
    await rig.clock.advance(1_000);
    await rig.flush();
    expect(rig.world.effects).toEqual([]);
    expect(endOf(rig, commandId)).toMatchObject({ step: 'finished', postcondition: false });
  });

  it('stops what the server has granted, by the server as well', async () => {
    const rig = createRig();
    await rig.connect();
    rig.executor().onOutgoing(async (message) => {
      rig.sent.push(message);
      if (message.name === 'goodbye') await rig.sync({ hold: true });
    });
    const { commandId } = await rig.run(shutdown);
    await rig.flush();
    expect(rig.world.effects).toEqual([]);
    expect(endOf(rig, commandId)).toMatchObject({ detail: expect.stringContaining('server') });
  });
});

describe('the watch over the HOLD file', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kr-hold-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('tells the server within a second that the file came, and that it went', async () => {
    const rig = createRig({ deps: { watchesHold: true } });
    await rig.connect();
    const changes = () => rig.sent.filter(({ name }) => name === 'changed').length;
    await rig.clock.advance(5_000);
    expect(changes()).toBe(0);
    rig.hold(true);
    await rig.clock.advance(999);
    await rig.flush();
    expect(changes()).toBe(1);
    expect((await rig.executor().introduce('n1')).localHold).toBe(true);
    rig.hold(false);
    await rig.clock.advance(999);
    await rig.flush();
    expect(changes()).toBe(2);
    await rig.executor().close();
    expect(rig.clock.pending()).toBe(0);
  });

  it('sees the file come and go in a folder that was not there', async () => {
    const path = join(folder, 'etc', 'HOLD');
    const seen: boolean[] = [];
    const log = memoryLog();
    const sources = { isHeld: holdFile(path), clock: realClock, log };
    const end = watchHold(sources, (isHeld) => void seen.push(isHeld));
    try {
      await mkdir(join(folder, 'etc'));
      await writeFile(path, '');
      await until(() => seen.length === 1, { withinMs: 10_000, what: 'the file to be seen' });
      await rm(join(folder, 'etc'), { recursive: true });
      await until(() => seen.length === 2, { withinMs: 10_000, what: 'its end to be seen' });
    } finally {
      end();
    }
    expect(seen).toEqual([true, false]);
  });

  it.each([
    ['fails', () => Promise.reject(new Error('EIO'))],
    ['does not answer', () => new Promise<boolean>(() => undefined)],
  ])('counts the file as standing while the look at it %s', async (_, isHeld) => {
    const clock = virtualClock();
    const seen: boolean[] = [];
    const end = watchHold({ isHeld, clock, log: memoryLog() }, (held) => void seen.push(held));
    await clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual([true]);
    end();
  });
});
