/**
 * Arguments that someone means badly: shell, options, paths, prototype keys, other types, numbers
 * out of bounds. Drawn by seed. What a set replaces, it replaces by something that the value's own
 * schema must refuse, or it adds a key that does not exist.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Chance } from './experiment.ts';

const texts = [
  '$(id)',
  '`id`',
  '; rm -rf /',
  '| nc 10.0.0.1 1',
  '&& reboot',
  '-rf',
  '--force',
  '--config=/etc/shadow',
  '../../../etc/passwd',
  '/etc/passwd',
  'a b',
  'a\nb',
  'a\r\nb',
  'a\tb',
  "a'b",
  'a"b',
  'a\\b',
  'a\0b',
  '${IFS}',
  '$HOME',
  '*',
  '?',
  '~root',
  '%s%n',
  '\ud800',
  '\u202e001',
  '１００',
  '',
  ' ',
  'x'.repeat(4_096),
  '{"$ne":1}',
  "1' OR '1'='1",
] as const;

export const hostileText = (draw: Chance): string => {
  const text = draw.pick(texts);
  return draw.is(0.3) ? text + draw.pick(texts) : text;
};

const notNumbers = [-1, 0.5, Number.MAX_VALUE, '1', '0x10', '1e3', null, [], {}, true, '-1'];
const notFlags = ['true', 1, 'yes', null, [], {}];

/** The valid arguments of a kind, and for each of them what it must never take. */
type Spec = { base: Record<string, unknown>; bad: Record<string, (draw: Chance) => unknown> };

const badId = hostileText;
const badNumber = (draw: Chance): unknown =>
  draw.is(0.5) ? draw.pick(notNumbers) : hostileText(draw);
const badFlag = (draw: Chance): unknown => (draw.is(0.5) ? draw.pick(notFlags) : hostileText(draw));

const specs: Partial<Record<CommandKind, Spec>> = {
  'node.shutdown': { base: { mode: 'poweroff' }, bad: { mode: badId } },
  'node.wake': {
    base: { macs: ['52:54:00:00:00:01'], broadcasts: ['10.0.0.255'] },
    bad: {
      macs: (draw) => [hostileText(draw)],
      broadcasts: (draw) => [hostileText(draw)],
      waker: badId,
    },
  },
  'guest.start': { base: {}, bad: {} },
  'guest.stop': {
    base: { force: false, timeoutMs: 60_000 },
    bad: { force: badFlag, timeoutMs: badNumber },
  },
  'guest.migrate': {
    base: { targetNode: 'n2', online: true },
    bad: {
      targetNode: badId,
      online: badFlag,
      withLocalDisks: badFlag,
      bandwidthBytesPerSecond: badNumber,
    },
  },
  'guest.scale': {
    base: { cpuCount: 2 },
    bad: { cpuCount: badNumber, cpuUnits: badNumber, memoryBytes: badNumber },
  },
};
export const hostileKinds = Object.keys(specs) as CommandKind[];

const strangeKeys = ['shell', 'env', 'path', 'argv', 'constructor', 'toString', '$where', '-rf'];

export type HostileCommand = {
  kind: CommandKind;
  target: { kind: 'node' | 'guest'; id: string };
  args: Record<string, unknown>;
  /** What is wrong with it. */
  what: string;
};

/** A command of which exactly one thing must not be accepted. */
export function hostileCommand(draw: Chance, node: string): HostileCommand {
  const kind = draw.pick(hostileKinds);
  const { base, bad } = specs[kind] ?? { base: {}, bad: {} };
  const isGuest = kind.startsWith('guest.');
  const own = isGuest ? { kind: 'guest', id: '100' } : { kind: 'node', id: node };
  const target = own as HostileCommand['target'];
  const names = Object.keys(bad);
  const way = draw.below(4);
  if (way === 0)
    return { kind, target: { ...target, id: hostileText(draw) }, args: base, what: 'id' };
  if (way === 1 || names.length === 0) {
    const key = draw.pick(strangeKeys);
    return { kind, target, args: { ...base, [key]: hostileText(draw) }, what: `key ${key}` };
  }
  const name = draw.pick(names);
  const value = bad[name]?.(draw);
  return { kind, target, args: { ...base, [name]: value }, what: name };
}
