import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type Action, commandArgs } from '../../../broker/contract/command.ts';
import type { Clock } from '../../../broker/contract/ports.ts';
import { createHostHypervisor } from '../../../daemon/hypervisor/host.ts';
import type { Work } from '../../../daemon/hypervisor/port.ts';
import {
  createScriptHypervisor,
  type ScriptAction,
  scriptActions,
  type ScriptConfig,
} from '../../../daemon/hypervisor/script.ts';
import { pinnedBelow } from '../../support/pins.ts';
import { createScriptRunner } from '../../../daemon/command/script-trust.ts';
import { createSampler, type Sampler } from '../../../daemon/sample/sampler.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { trustedFolder } from '../../support/trusted-folder.ts';

const examples = new URL('../../../docs/examples/script/', import.meta.url);
const clock: Clock = { ...virtualClock(), monotonicMs: () => performance.now() };
const newId = idsOf(clock, seededRandom(1));
const signal = new AbortController().signal;
const context = { signal, onHandle: async () => undefined };

let folder: string;
beforeEach(async () => {
  folder = await trustedFolder();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sampler = (): Sampler => createSampler({ clock, addresses: () => ({}), root: folder });

function driverOf(config: Partial<ScriptConfig>, node = 'pve1') {
  const log = memoryLog();
  const whole = {
    guests: join(folder, 'guests'),
    actions: {},
    queryTimeoutMs: 10_000,
    stopWithinMs: 5_000,
    ...config,
  };
  const scripts = createScriptRunner({
    folder: join(folder, 'run'),
    readPolicy: pinnedBelow(folder),
  });
  const outputFolder = join(folder, 'output');
  const own = { node, config: whole, sampler: sampler(), scripts, outputFolder };
  const options = { ...own, daemonVersion: '1', clock, log };
  return { log, driver: createScriptHypervisor(options) };
}

async function program(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return path;
}

const work = (kind: ScriptAction, args: object = {}, node = 'pve1'): Work => ({
  commandId: newId(),
  node,
  target: kind === 'node.shutdown' ? { kind: 'node', id: node } : { kind: 'guest', id: 'web1' },
  action: { kind, args: commandArgs[kind].parse(args) } as Action,
  timeScale: 1,
});

describe('the documented example programs', () => {
  const state = (...path: string[]): string => join(folder, 'state', ...path);

  async function example(node: string) {
    const programs = join(folder, `programs-${node}`);
    await cp(examples, programs, { recursive: true });
    await mkdir(state(node), { recursive: true });
    await writeFile(join(programs, 'state-folder'), state(node));
    const text = await readFile(join(programs, 'daemon.yaml'), 'utf8');
    const { script } = parse(text.replaceAll('/usr/local/lib/kernreaktor', programs)) as {
      script: ScriptConfig;
    };
    return driverOf(script, node).driver;
  }

  async function addGuest(node: string, id: string): Promise<void> {
    await mkdir(state(node, id), { recursive: true });
    await writeFile(state(node, id, 'state'), 'stopped\n');
    await writeFile(state(node, id, 'cpu_count'), '2\n');
    await writeFile(state(node, id, 'memory_bytes'), '1073741824\n');
  }

  it('list guests, and an empty host has none', async () => {
    const driver = await example('pve1');
    expect((await driver.sample('pve1')).guests).toEqual([]);
    await addGuest('pve1', 'web1');
    await addGuest('pve1', 'db');
    expect((await driver.sample('pve1')).guests).toMatchObject([
      { id: 'db', kind: 'container', name: 'db', state: 'stopped', cpuCount: 2, cpuRatio: null },
      { id: 'web1', memoryTotalBytes: 2 ** 30, uptimeMs: null, tags: [], lock: null },
    ]);
  });

  it('start, restart, scale, stop and shut down, and the driver sees it', async () => {
    const driver = await example('pve1');
    await addGuest('pve1', 'web1');
    const deeds = [
      work('guest.start'),
      work('guest.restart'),
      work('guest.scale', { cpuCount: 4, memoryBytes: 2 ** 31 }),
      work('guest.stop'),
    ];
    for (const deed of deeds) {
      expect(await driver.perform(deed, context)).toMatchObject({ exitCode: 0, output: '' });
      expect(await driver.observe(deed)).toMatchObject({ postcondition: true });
    }
    const guests = (await driver.sample('pve1')).guests;
    expect(guests).toMatchObject([{ state: 'stopped', cpuCount: 4, memoryTotalBytes: 2 ** 31 }]);
    const shutdown = work('node.shutdown', { mode: 'suspend' });
    expect((await driver.perform(shutdown, context)).exitCode).toBe(0);
    expect((await driver.observe(shutdown)).postcondition).toBeNull();
    expect(await readFile(state('pve1', '.shutdown'), 'utf8')).toBe('suspend\n');
  });

  it('migrate: the source only sees it gone, the target sees it run', async () => {
    const source = await example('pve1');
    const target = await example('pve2');
    await addGuest('pve1', 'web1');
    await source.perform(work('guest.start'), context);
    const move = work('guest.migrate', { targetNode: 'pve2' });
    const witness = { ...move, node: 'pve2' };
    expect((await target.observe(witness)).postcondition).toBeNull();
    expect(await source.perform(move, context)).toMatchObject({ exitCode: 0 });
    expect((await source.observe(move)).postcondition).toBeNull();
    expect((await target.observe(witness)).postcondition).toBe(true);
  });

  it('fail with a reason, and the driver sees that nothing happened', async () => {
    const driver = await example('pve1');
    await addGuest('pve1', 'web1');
    const move = work('guest.migrate', { targetNode: 'nowhere' });
    const performed = await driver.perform(move, context);
    expect(performed.exitCode).toBe(4);
    expect(performed.output).toContain('cannot reach nowhere');
    expect((await driver.observe(move)).postcondition).toBe(false);
  });
});

describe('capabilities and description', () => {
  it('offers what has a program, and to wake others, in the order of the protocol, and nothing else', async () => {
    await program('guests', `echo '[{"id":"a","kind":"vm","name":"A","state":"running"}]'`);
    const actions = { 'guest.stop': '/x', 'node.shutdown': '/y' };
    const { driver } = driverOf({ actions });
    const { driver: described, guests, facts } = await driver.describe('pve1');
    expect(described).toEqual({
      name: 'script',
      version: '1',
      simulated: false,
      capabilities: ['node.shutdown', 'node.wake', 'guest.stop'],
    });
    expect(guests).toMatchObject([{ id: 'a', kind: 'vm', name: 'A', template: false }]);
    expect(facts.runningGuests).toBe(1);
    expect(new Set(scriptActions).size).toBe(6);
  });

  it('does nothing for an action without a program', async () => {
    const { driver } = driverOf({});
    const performed = await driver.perform(work('guest.stop'), context);
    expect(performed).toMatchObject({
      exitCode: null,
      detail: 'no program is configured for guest.stop',
    });
  });

  it('gives a program the command in its environment and on standard input', async () => {
    const seen = join(folder, 'seen');
    const path = await program('stop', `{ env | grep ^KR_ | sort; cat; } > '${seen}'`);
    const { driver } = driverOf({ actions: { 'guest.stop': path } });
    const stop = work('guest.stop', { force: true, timeoutMs: 5_000 });
    await driver.perform(stop, context);
    const [first, ...rest] = (await readFile(seen, 'utf8')).split('\n');
    expect([first, ...rest.slice(0, 6)]).toEqual([
      'KR_ARG_FORCE=true',
      'KR_ARG_TIMEOUT_MS=5000',
      `KR_COMMAND_ID=${stop.commandId}`,
      'KR_GUEST=web1',
      'KR_KIND=guest.stop',
      'KR_NODE=pve1',
      `KR_SCRIPT=${path}`,
    ]);
    expect(JSON.parse(rest[6] ?? '')).toEqual({
      commandId: stop.commandId,
      kind: 'guest.stop',
      node: 'pve1',
      guest: 'web1',
      args: { force: true, timeoutMs: 5_000 },
    });
  });
});

describe('an answer that cannot be used', () => {
  const row = '"id":"a","kind":"vm","name":"A","state":"running"';
  it.each([
    ['is no JSON', 'echo oops', 'no JSON'],
    ['is no list', 'echo {}', 'write a list'],
    ['misspells a metric', `echo '[{${row},"metrics":{"cpu":1}}]'`, '0.metrics.cpu'],
    ['is out of bounds', `echo '[{${row},"metrics":{"cpuRatio":12}}]'`, '0.metrics.cpuRatio'],
    ['has an unknown state', `echo '[{"id":"a","kind":"vm","name":"A","state":"on"}]'`, '0.state'],
    ['has a strange id', `echo '[{"id":"../a","kind":"vm","name":"","state":"running"}]'`, '0.id'],
    ['names a guest twice', `echo '[{${row}},{${row}}]'`, 'once'],
    ['comes with an error', 'echo []; echo "no socket" >&2; exit 7', 'ended with 7: no socket'],
    ['is too long', 'head -c 1100000 /dev/zero', 'more than 1048576 bytes'],
  ])('means unknown guests, never none, when it %s', async (_, text, problem) => {
    const path = await program('guests', text);
    const { driver, log } = driverOf({});
    const sample = await driver.sample('pve1');
    expect(sample.guests).toBeNull();
    expect(driver.badAnswers()).toBe(1);
    expect(log.lines).toMatchObject([
      { level: 'warn', fields: { node: 'pve1', path, problem: expect.stringContaining(problem) } },
    ]);
    const observed = await driver.observe(work('guest.stop'));
    expect(observed.postcondition).toBeNull();
  });

  it('means unknown guests when the program is missing or takes too long', async () => {
    const missing = driverOf({ guests: join(folder, 'none') });
    expect((await missing.driver.sample('pve1')).guests).toBeNull();
    expect(missing.log.lines[0]?.fields).toMatchObject({
      problem: expect.stringContaining('install'),
    });
    const slow = driverOf({ guests: await program('slow', 'sleep 30'), queryTimeoutMs: 100 });
    expect((await slow.driver.sample('pve1')).guests).toBeNull();
    expect(slow.log.lines[0]?.fields).toMatchObject({
      problem: 'gave no answer within 100 ms',
    });
  });

  it('is not counted when the driver is closed in the middle of it', async () => {
    const { driver } = driverOf({ guests: await program('slow', 'sleep 30') });
    const sample = driver.sample('pve1');
    await driver.close();
    expect((await sample).guests).toBeNull();
    expect(driver.badAnswers()).toBe(0);
  });
});

describe('observing', () => {
  const listing = (guest: object): string =>
    `echo '${JSON.stringify([{ id: 'web1', kind: 'vm', name: 'w', state: 'running', ...guest }])}'`;

  async function observed(deed: Work, guest: object | null, didPerform: boolean) {
    await program('guests', guest === null ? `echo '[]'` : listing(guest));
    const path = await program('act', 'exit 0');
    const actions = Object.fromEntries(scriptActions.map((kind) => [kind, path]));
    const { driver } = driverOf({ actions });
    if (didPerform) await driver.perform(deed, context);
    return (await driver.observe(deed)).postcondition;
  }

  const stopped = { state: 'stopped' };
  const scale = (args: object): Work => work('guest.scale', args);
  const cases: [string, Work, object | null, boolean | null, boolean | null][] = [
    ['start: running', work('guest.start'), {}, true, true],
    ['start: stopped', work('guest.start'), stopped, false, null],
    ['start: unknown', work('guest.start'), { state: 'unknown' }, null, null],
    ['start: not listed', work('guest.start'), null, null, null],
    ['stop: stopped', work('guest.stop'), stopped, true, true],
    ['stop: paused', work('guest.stop'), { state: 'paused' }, false, null],
    ['stop: not listed', work('guest.stop'), null, null, null],
    ['restart: young', work('guest.restart'), { metrics: { uptimeMs: 0 } }, true, null],
    ['restart: old', work('guest.restart'), { metrics: { uptimeMs: 9e6 } }, false, null],
    ['restart: age unknown', work('guest.restart'), {}, null, null],
    ['restart: stopped', work('guest.restart'), stopped, null, null],
    ['scale: as asked', scale({ cpuCount: 4 }), { metrics: { cpuCount: 4 } }, true, true],
    ['scale: differs', scale({ cpuCount: 4 }), { metrics: { cpuCount: 2 } }, false, null],
    ['scale: not told', scale({ memoryBytes: 5 }), { metrics: { cpuCount: 2 } }, null, null],
    [
      'scale: limits',
      scale({ cpuLimit: 1, cpuCount: 2 }),
      { metrics: { cpuCount: 2 } },
      null,
      null,
    ],
    ['migrate: gone', work('guest.migrate', { targetNode: 'pve2' }), null, null, null],
    ['migrate: still here', work('guest.migrate', { targetNode: 'pve2' }), {}, false, null],
    ['migrate: arrived', work('guest.migrate', { targetNode: 'pve1' }), {}, true, true],
    ['migrate: paused here', work('guest.migrate', { targetNode: 'pve1' }), stopped, null, null],
    ['shutdown', work('node.shutdown'), {}, null, null],
  ];

  it.each(cases)('%s', async (_, deed, guest, afterwards, asWitness) => {
    expect(await observed(deed, guest, true)).toBe(afterwards);
    expect(await observed(deed, guest, false)).toBe(asWitness);
  });

  it('asks the probe program instead where there is one, and believes only a clean answer', async () => {
    await program('guests', `echo '[]'`);
    const answer = join(folder, 'answer');
    const probe = await program('probe', `[ "$KR_QUERY$KR_GUEST" = probeweb1 ] && cat '${answer}'`);
    const { driver } = driverOf({ probe });
    for (const postcondition of [true, false, null]) {
      const observation = { postcondition, detail: 'looked' };
      await writeFile(answer, JSON.stringify(observation));
      expect(await driver.observe(work('guest.start'))).toEqual(observation);
    }
    await writeFile(answer, '{"postcondition":"yes"}');
    expect((await driver.observe(work('guest.start'))).postcondition).toBeNull();
    expect(driver.badAnswers()).toBe(1);
  });
});

describe('a host without a hypervisor', () => {
  it('knows that it has no guests and performs nothing', async () => {
    const host = createHostHypervisor({ node: 'nas', sampler: sampler(), daemonVersion: '1' });
    expect(host.nodes()).toEqual(['nas']);
    const described = await host.describe('nas');
    expect(described).toMatchObject({
      driver: { name: 'host', simulated: false, capabilities: [] },
      guests: [],
      facts: { runningGuests: 0 },
    });
    expect((await host.sample('nas')).guests).toEqual([]);
    const deed = work('node.shutdown', {}, 'nas');
    expect(await host.perform(deed, context)).toMatchObject({ exitCode: null });
    expect((await host.observe(deed)).postcondition).toBeNull();
  });
});
