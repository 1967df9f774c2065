import { describe, expect, it } from 'vitest';
import { type Action, commandArgs, type CommandKind } from '../../../../broker/contract/command.ts';
import { Instance } from '../../../../daemon/hypervisor/lxd/answers.ts';
import { judge, type Run } from '../../../../daemon/hypervisor/lxd/judge.ts';
import { planOf } from '../../../../daemon/hypervisor/lxd/plan.ts';
import type { Work } from '../../../../daemon/hypervisor/port.ts';

const commandId = '0190d7a0-0000-7000-8000-000000000001';
const named = { name: 'web', project: 'default' };

const action = (kind: CommandKind, args: object = {}): Action =>
  ({ kind, args: commandArgs[kind].parse(args) }) as Action;
const work = (kind: CommandKind, args: object = {}): Work => ({
  commandId,
  node: 'box',
  target: { kind: 'guest', id: 'box.web' },
  action: action(kind, args),
  timeScale: 1,
});
const instance = (given: object = {}): Instance =>
  Instance.parse({ name: 'web', type: 'container', status: 'Running', ...given });
const run = (given: Partial<Run> = {}): Run => ({
  startedAtWallMs: Date.parse('2026-01-01T12:00:00Z'),
  hasEnded: true,
  neverBegan: false,
  ...given,
});
const plan = (kind: CommandKind, args: object, given: Instance | null) =>
  planOf(action(kind, args), named, { instance: given, commandId, rootPool: 'default' });
const verdict = (kind: CommandKind, args: object, given: Instance | null, ran?: Run) =>
  judge(work(kind, args), given, ran).postcondition;

const createArgs = { image: 'debian/12', kind: 'container', cpuCount: 2, memoryBytes: 1024 };

describe('what LXD is asked', () => {
  it('marks a new instance with its command and sets its limits', () => {
    const asked = plan('guest.create', { ...createArgs, diskBytes: 4096 }, null);
    expect(asked).toMatchObject({
      ok: true,
      requests: [
        {
          method: 'POST',
          path: '/1.0/instances?project=default',
          body: {
            name: 'web',
            source: { type: 'image', alias: 'debian/12' },
            config: { 'limits.cpu': '2', 'limits.memory': '1024B', 'user.kr_command': commandId },
            devices: { root: { pool: 'default', size: '4096B' } },
          },
        },
        {
          method: 'PUT',
          path: '/1.0/instances/web/state?project=default',
          body: { action: 'start' },
        },
      ],
    });
  });

  it.each([
    [
      'https://images.example/debian/12',
      { server: 'https://images.example', alias: 'debian/12', protocol: 'simplestreams' },
    ],
    [
      'https://cloud-images.example/releases/#24.04',
      { server: 'https://cloud-images.example/releases', alias: '24.04' },
    ],
    ['https://images.example#debian/12', { server: 'https://images.example', alias: 'debian/12' }],
    ['ab'.repeat(32), { fingerprint: 'ab'.repeat(32) }],
  ])('finds the image %s', (image, source) => {
    const asked = plan('guest.create', { ...createArgs, image, start: false }, null);
    if (!asked.ok) throw new Error(asked.why);
    expect(asked.requests).toHaveLength(1);
    expect(asked.requests[0]?.body).toMatchObject({ source });
  });

  it.each([
    ['guest.create', createArgs, instance(), 'exists already'],
    ['guest.start', {}, null, 'no instance web'],
    ['guest.delete', {}, instance(), 'stop it first'],
    [
      'guest.delete',
      {},
      instance({ status: 'Stopped', expanded_config: { 'security.protection.delete': 'true' } }),
      'security.protection.delete',
    ],
    [
      'guest.snapshot',
      { name: 's1' },
      instance({ snapshots: [{ name: 's1', created_at: '2026-01-01T00:00:00Z' }] }),
      'exists already',
    ],
    ['guest.scale', { cpuUnits: 100 }, instance(), 'no cpuUnits'],
    ['guest.scale', { balloonBytes: 100 }, instance(), 'no balloonBytes'],
    ['guest.migrate', { targetNode: 'b' }, instance(), 'no running container'],
    [
      'guest.migrate',
      { targetNode: 'b' },
      instance({ type: 'virtual-machine' }),
      'migration.stateful',
    ],
    ['node.shutdown', {}, instance(), 'performs no node.shutdown'],
  ] as const)('is nothing for %s %j that cannot be', (kind, args, given, why) => {
    expect(plan(kind, args, given)).toMatchObject({
      ok: false,
      why: expect.stringContaining(why) as string,
    });
  });

  it('moves what is stopped, and a machine that may move while it runs', () => {
    const path = '/1.0/instances/web?project=default&target=b';
    expect(
      plan('guest.migrate', { targetNode: 'b' }, instance({ status: 'Stopped' })),
    ).toMatchObject({
      requests: [{ method: 'POST', path, body: { name: 'web', migration: true, live: false } }],
    });
    const vm = instance({
      type: 'virtual-machine',
      expanded_config: { 'migration.stateful': 'true' },
    });
    expect(plan('guest.migrate', { targetNode: 'b' }, vm)).toMatchObject({
      requests: [{ path, body: { live: true } }],
    });
  });

  it('writes limits as LXD does', () => {
    const args = { cpuCount: 3, cpuLimit: 1.5, memoryBytes: 2 ** 30 };
    expect(plan('guest.scale', args, instance())).toMatchObject({
      requests: [
        {
          method: 'PATCH',
          body: {
            config: {
              'limits.cpu': '3',
              'limits.cpu.allowance': '150ms/100ms',
              'limits.memory': '1073741824B',
            },
          },
        },
      ],
    });
  });
});

describe('the post-condition', () => {
  const snapshots = (at: string) => instance({ snapshots: [{ name: 's', created_at: at }] });
  it.each([
    ['guest.start', {}, instance(), true],
    ['guest.start', {}, instance({ status: 'Stopped' }), false],
    ['guest.stop', {}, instance({ status: 'Stopped' }), true],
    ['guest.stop', {}, instance({ status: 'Error' }), false],
    ['guest.restart', {}, instance({ last_used_at: '2026-01-01T12:00:01Z' }), true],
    ['guest.restart', {}, instance({ last_used_at: '2026-01-01T11:00:00Z' }), false],
    ['guest.restart', {}, instance({ status: 'Stopped' }), false],
    ['guest.snapshot', { name: 's' }, snapshots('2026-01-01T12:00:01Z'), true],
    ['guest.snapshot', { name: 's' }, snapshots('2026-01-01T11:00:00Z'), false],
    ['guest.snapshot', { name: 's' }, instance(), false],
    ['guest.delete', {}, null, true],
    ['guest.delete', {}, instance(), false],
    ['guest.create', createArgs, null, false],
    ['guest.create', createArgs, instance(), false],
    ['guest.create', createArgs, instance({ config: { 'user.kr_command': commandId } }), true],
    [
      'guest.create',
      createArgs,
      instance({ status: 'Stopped', config: { 'user.kr_command': commandId } }),
      false,
    ],
    ['guest.scale', { cpuCount: 2 }, instance({ config: { 'limits.cpu': '2' } }), true],
    ['guest.scale', { cpuCount: 2 }, instance(), false],
    ['guest.migrate', { targetNode: 'b' }, instance({ location: 'b' }), true],
    ['guest.migrate', { targetNode: 'b' }, instance({ location: 'a' }), false],
    ['guest.start', {}, null, null],
  ] as const)('of %s %j is read from the instance', (kind, args, given, holds) => {
    expect(verdict(kind, args, given, run())).toBe(holds);
  });

  it('is never denied while the operation may be at work, or by one who does not know it', () => {
    const stopped = instance({ status: 'Stopped' });
    expect(verdict('guest.start', {}, stopped, run({ hasEnded: false }))).toBeNull();
    expect(verdict('guest.start', {}, stopped)).toBeNull();
    expect(
      verdict('guest.restart', {}, instance({ last_used_at: '2026-01-01T12:00:01Z' })),
    ).toBeNull();
    expect(verdict('guest.snapshot', { name: 's' }, snapshots('2026-01-01T12:00:01Z'))).toBeNull();
  });

  it('does not hold of what was never begun, whatever the instance looks like', () => {
    const never = run({ neverBegan: true });
    expect(verdict('guest.delete', {}, null, never)).toBe(false);
    expect(verdict('guest.start', {}, instance(), never)).toBe(false);
  });
});
