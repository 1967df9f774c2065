/**
 * What LXD is asked for each kind of command: requests in order, or the reason why it cannot be.
 * Values are LXD's own words (`limits.cpu`, `limits.memory`, `limits.cpu.allowance`). Pure.
 */
import type { Action, CommandArgs } from '../../../broker/contract/command.ts';
import type { Instance } from './answers.ts';
import { stateOf } from './guests.ts';

export type Request = {
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  body: object | null;
};
export type Plan = { ok: true; requests: Request[] } | { ok: false; why: string };

/** The command that made an instance is written into it: the proof that it was this one. */
export const commandKey = 'user.kr_command';
const restartSeconds = 180;
const never = (why: string): Plan => ({ ok: false, why });

export type Named = { name: string; project: string };

export const pathOf = ({ name, project }: Named, rest = ''): string =>
  `/1.0/instances/${name}${rest}?project=${encodeURIComponent(project)}`;

export const cpuAllowanceOf = (cpus: number): string =>
  cpus === 0 ? '' : `${Math.max(1, Math.round(cpus * 100))}ms/100ms`;

/** Configuration keys a scale sets, with the values LXD shows afterwards; null: LXD has no such. */
export function limitsOf(args: CommandArgs<'guest.scale'>): Record<string, string> | null {
  if (args.cpuUnits !== undefined || args.balloonBytes !== undefined) return null;
  const { cpuCount, cpuLimit, memoryBytes } = args;
  return {
    ...(cpuCount === undefined ? {} : { 'limits.cpu': String(cpuCount) }),
    ...(cpuLimit === undefined ? {} : { 'limits.cpu.allowance': cpuAllowanceOf(cpuLimit) }),
    ...(memoryBytes === undefined ? {} : { 'limits.memory': `${memoryBytes}B` }),
  };
}

/**
 * `https://images.example/debian/12` names a simplestreams server and an alias on it, 64 hex digits
 * an image. Aliases hold slashes, too: where the server's address has a path, `#` parts the two.
 */
function sourceOf(image: string): object {
  const remote =
    /^(https:\/\/[^#]*[^#/])\/*#(.+)$/.exec(image) ?? /^(https:\/\/[^/#]+)\/([^#]+)$/.exec(image);
  if (remote) {
    return {
      type: 'image',
      mode: 'pull',
      server: remote[1],
      protocol: 'simplestreams',
      alias: remote[2],
    };
  }
  return {
    type: 'image',
    ...(/^[0-9a-f]{64}$/.test(image) ? { fingerprint: image } : { alias: image }),
  };
}

function planCreate(
  named: Named,
  args: CommandArgs<'guest.create'>,
  { commandId, rootPool }: { commandId: string; rootPool: string | null },
): Plan {
  const { diskBytes, kind } = args;
  if (diskBytes !== undefined && rootPool === null) {
    return never('the default profile has no root disk: leave out diskBytes, or add one to it');
  }
  const devices =
    diskBytes === undefined
      ? {}
      : { root: { type: 'disk', path: '/', pool: rootPool, size: `${diskBytes}B` } };
  const body = {
    name: named.name,
    type: kind === 'vm' ? 'virtual-machine' : 'container',
    source: sourceOf(args.image),
    devices,
    config: {
      'limits.cpu': String(args.cpuCount),
      'limits.memory': `${args.memoryBytes}B`,
      [commandKey]: commandId,
    },
  };
  const path = `/1.0/instances?project=${encodeURIComponent(named.project)}`;
  const create: Request = { method: 'POST', path, body };
  return { ok: true, requests: args.start ? [create, ...startOf(named)] : [create] };
}

const stateChange = (named: Named, body: object): Request => ({
  method: 'PUT',
  path: pathOf(named, '/state'),
  body,
});
const startOf = (named: Named): Request[] => [stateChange(named, { action: 'start', timeout: -1 })];

/** What is on this host and may travel: only what needs no restart nobody agreed to. */
function planMigrate(instance: Instance, args: CommandArgs<'guest.migrate'>): Plan {
  const state = stateOf(instance.status);
  const isRunning = state !== 'stopped';
  if (isRunning && instance.type === 'container') {
    return never('LXD moves no running container: stop it, move it, start it again');
  }
  if (isRunning && instance.expanded_config['migration.stateful'] !== 'true') {
    return never(
      'the virtual machine cannot move while it runs: set its migration.stateful to true',
    );
  }
  const { name, project } = instance;
  const query = `project=${encodeURIComponent(project)}&target=${encodeURIComponent(args.targetNode)}`;
  const body = { name, migration: true, live: isRunning };
  return {
    ok: true,
    requests: [{ method: 'POST', path: `/1.0/instances/${name}?${query}`, body }],
  };
}

function planDelete(named: Named, instance: Instance): Plan {
  const state = stateOf(instance.status);
  if (state !== 'stopped') return never(`the instance is ${state}: stop it first`);
  if (instance.expanded_config['security.protection.delete'] === 'true') {
    return never('security.protection.delete is set on it');
  }
  return { ok: true, requests: [{ method: 'DELETE', path: pathOf(named), body: null }] };
}

function planSnapshot(named: Named, instance: Instance, name: string): Plan {
  if (instance.snapshots?.some((snapshot) => snapshot.name === name)) {
    return never(`a snapshot ${name} exists already`);
  }
  const body = { name, stateful: false };
  return { ok: true, requests: [{ method: 'POST', path: pathOf(named, '/snapshots'), body }] };
}

function changeOf(action: Action, named: Named): Request | { why: string } {
  if (action.kind === 'guest.stop') {
    const { force, timeoutMs } = action.args;
    const timeout = Math.ceil(timeoutMs / 1000);
    return stateChange(named, { action: 'stop', force, timeout });
  }
  if (action.kind === 'guest.restart') {
    return stateChange(named, { action: 'restart', force: false, timeout: restartSeconds });
  }
  if (action.kind !== 'guest.scale') return { why: `this driver performs no ${action.kind}` };
  const config = limitsOf(action.args);
  if (config === null) return { why: 'LXD knows no cpuUnits and no balloonBytes' };
  return { method: 'PATCH', path: pathOf(named), body: { config } };
}

/** `instance` is the one the command is about as it stands now, null when there is none. */
export function planOf(
  action: Action,
  named: Named,
  at: { instance: Instance | null; commandId: string; rootPool: string | null },
): Plan {
  const { instance } = at;
  if (action.kind === 'guest.create') {
    return instance ? never(`${named.name} exists already`) : planCreate(named, action.args, at);
  }
  if (instance === null) return never(`there is no instance ${named.name} on this host`);
  if (action.kind === 'guest.start') return { ok: true, requests: startOf(named) };
  if (action.kind === 'guest.snapshot') return planSnapshot(named, instance, action.args.name);
  if (action.kind === 'guest.delete') return planDelete(named, instance);
  if (action.kind === 'guest.migrate') return planMigrate(instance, action.args);
  const request = changeOf(action, named);
  return 'why' in request ? { ok: false, ...request } : { ok: true, requests: [request] };
}
