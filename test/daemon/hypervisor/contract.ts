/**
 * What every hypervisor driver must keep, whatever stands behind it: one suite, run on each of
 * them. It asks for a world with one running and one stopped guest, and for a count of what really
 * began there, kept by that world and not by the driver.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type Action, commandArgs, type CommandKind } from '../../../broker/contract/command.ts';
import { Driver, GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import { GuestSample } from '../../../broker/contract/telemetry.ts';
import type { Hypervisor, Performed, Work } from '../../../daemon/hypervisor/port.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom } from '../../support/clock.ts';

export type Subject = {
  driver: Hypervisor;
  node: string;
  running: string;
  stopped: string;
  /** Effects that began, by the world's own count. */
  begun(): Promise<number>;
  close(): Promise<void>;
};

const newId = idsOf(realClock, seededRandom(11));

const work = (subject: Subject, kind: CommandKind, guest: string, args: object = {}): Work => ({
  commandId: newId(),
  node: subject.node,
  target: { kind: 'guest', id: guest },
  action: { kind, args: commandArgs[kind].parse(args) } as Action,
  timeScale: 1,
});

/** Kinds that some driver cannot do, with arguments for them. */
const examples: Partial<Record<CommandKind, object>> = {
  'guest.snapshot': { name: 'before' },
  'guest.migrate': { targetNode: 'elsewhere' },
  'guest.delete': {},
};

function context() {
  const handles: string[] = [];
  const abort = new AbortController();
  const onHandle = async (handle: string): Promise<void> => void handles.push(handle);
  return { handles, abort, signal: abort.signal, onHandle };
}

/** A driver may refuse by its answer or by an error; both mean that no tool said "done". */
const attempt = (performing: Promise<Performed>): Promise<number | null> =>
  performing.then(
    ({ exitCode }) => exitCode,
    () => null,
  );

export function hypervisorContract(name: string, open: () => Promise<Subject>): void {
  describe(`the hypervisor contract, kept by ${name}`, () => {
    const subjects: Subject[] = [];
    afterEach(async () => {
      for (const subject of subjects.splice(0)) {
        await subject.driver.close();
        await subject.close();
      }
    });
    const start = async (): Promise<Subject> => {
      const subject = await open();
      subjects.push(subject);
      return subject;
    };
    const stateOf = async ({ driver, node }: Subject, guest: string) =>
      (await driver.sample(node)).guests?.find(({ id }) => id === guest)?.state;

    it('describes its node and guests as the wire takes them', async () => {
      const { driver, node, running, stopped } = await start();
      expect(driver.nodes()).toContain(node);
      const description = await driver.describe(node);
      expect(Driver.parse(description.driver)).toEqual(description.driver);
      expect(new Set(description.driver.capabilities).size).toBe(
        description.driver.capabilities.length,
      );
      expect(NodeFacts.parse(description.facts)).toEqual(description.facts);
      const guests = (description.guests ?? []).map((guest) => GuestFacts.parse(guest));
      expect(guests).toEqual(description.guests);
      expect(guests.map(({ id }) => id)).toEqual(expect.arrayContaining([running, stopped]));
      expect(description.facts.runningGuests).toBe(1);
    });

    it('samples every guest once, and nothing of a stopped one', async () => {
      const { driver, node, running, stopped } = await start();
      const guests = (await driver.sample(node)).guests ?? [];
      expect(guests.map((guest) => GuestSample.parse(guest))).toEqual(guests);
      expect(Object.fromEntries(guests.map(({ id, state }) => [id, state]))).toEqual({
        [running]: 'running',
        [stopped]: 'stopped',
      });
      expect(guests).toHaveLength(2);
      expect(guests.find(({ id }) => id === stopped)).toMatchObject({
        cpuRatio: null,
        memoryUsedBytes: null,
        uptimeMs: null,
      });
    });

    it('starts and stops a guest, once each, and then sees it', async () => {
      const subject = await start();
      const { driver, running, stopped } = subject;
      const deeds = [
        work(subject, 'guest.start', stopped),
        work(subject, 'guest.stop', running, { force: true }),
      ];
      for (const deed of deeds) {
        expect((await driver.observe(deed)).postcondition).not.toBe(true);
        expect(await driver.perform(deed, context())).toMatchObject({ exitCode: 0 });
        expect((await driver.observe(deed)).postcondition).toBe(true);
      }
      expect(await stateOf(subject, stopped)).toBe('running');
      expect(await stateOf(subject, running)).toBe('stopped');
      expect(await subject.begun()).toBe(2);
    });

    it('begins nothing by describing, sampling and observing', async () => {
      const subject = await start();
      const { driver, node, running, stopped } = subject;
      await driver.describe(node);
      await driver.sample(node);
      await driver.observe(work(subject, 'guest.start', stopped));
      await driver.observe(work(subject, 'guest.restart', running));
      await driver.observe(work(subject, 'guest.scale', running, { cpuCount: 1 }));
      expect(await subject.begun()).toBe(0);
    });

    it('neither acts on a guest that is not there nor claims to see it', async () => {
      const subject = await start();
      const deed = work(subject, 'guest.start', 'nobody');
      expect(await attempt(subject.driver.perform(deed, context()))).not.toBe(0);
      expect((await subject.driver.observe(deed)).postcondition).not.toBe(true);
      expect(await stateOf(subject, 'nobody')).toBeUndefined();
    });

    it('sees that a restart of a guest that does not run came to nothing, and does not wait', async () => {
      const subject = await start();
      const { driver, node, stopped } = subject;
      const { capabilities } = (await driver.describe(node)).driver;
      const deed = work(subject, 'guest.restart', stopped);
      expect(await attempt(driver.perform(deed, context()))).not.toBe(0);
      // A driver that restarts nothing may have no word on it, but never a good one.
      const refuted = capabilities.includes('guest.restart') ? [false] : [false, null];
      expect(refuted).toContain((await driver.observe(deed)).postcondition);
      expect(await stateOf(subject, stopped)).toBe('stopped');
    });

    it('refuses a kind outside its capabilities', async () => {
      const subject = await start();
      const { driver, node, running } = subject;
      const { capabilities } = (await driver.describe(node)).driver;
      const outside = Object.entries(examples).find(
        ([kind]) => !capabilities.includes(kind as CommandKind),
      ) as [CommandKind, object] | undefined;
      if (outside === undefined) throw new Error('it claims to do everything');
      const deed = work(subject, outside[0], running, outside[1]);
      expect(await attempt(driver.perform(deed, context()))).not.toBe(0);
      expect((await driver.observe(deed)).postcondition).not.toBe(true);
      expect(await subject.begun()).toBe(0);
    });

    it('does not call it done when it was given up', async () => {
      const subject = await start();
      const ctx = context();
      ctx.abort.abort();
      const deed = work(subject, 'guest.start', subject.stopped);
      expect(await attempt(subject.driver.perform(deed, ctx))).not.toBe(0);
    });

    it('names its task before the end and joins it again, where it can', async () => {
      const subject = await start();
      const { driver, stopped } = subject;
      const ctx = context();
      const deed = work(subject, 'guest.start', stopped);
      const result = await driver.perform(deed, ctx);
      const [handle] = ctx.handles;
      const again =
        driver.attach && handle !== undefined
          ? await driver.attach(deed, handle, context())
          : result;
      expect({ canAttach: driver.attach !== undefined }).toEqual({
        canAttach: handle !== undefined,
      });
      expect(again.exitCode).toBe(result.exitCode);
      expect(await subject.begun()).toBe(1);
    });
  });
}
