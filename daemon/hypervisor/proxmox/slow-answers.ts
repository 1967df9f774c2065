/**
 * What only a program can tell: storages and uptimes, the version, the machine itself. Each question
 * is a process of up to a second, so all are asked together, once a minute at most and after an effect. A part without a
 * usable answer is null, and everything is null again once it is three minutes old.
 */
import type { Clock } from '../../../broker/contract/ports.ts';
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import type { Files } from '../../sample/files.ts';
import { NodeStatus, Resources } from './answers.ts';
import { readCeph } from './ceph.ts';
import { type Gauged, readGauged } from './gauged.ts';
import type { Toolbox } from './toolbox.ts';

export type Slow = {
  atMs: number;
  resources: Resources | null;
  /** `pve-manager/9.2.2`. */
  version: string | null;
  gauged: Gauged;
  ceph: NodeFacts['ceph'];
};

export type SlowAnswers = {
  /** At most a minute old; asks and waits when nothing so young is at hand. */
  fresh(): Promise<Slow>;
  /** The last ones if they still mean something; never waits. */
  latest(): Slow | null;
  /** Something has happened: the next look asks again. */
  expire(): void;
};

const askEveryMs = 60_000;
const versionEveryMs = 3_600_000;
const meaninglessAfterMs = 180_000;

export type SlowOptions = { toolbox: Toolbox; files: Files; clock: Clock };

export function createSlowAnswers({ toolbox, files, clock }: SlowOptions): SlowAnswers {
  let last: Slow | null = null;
  let asking: Promise<Slow> | null = null;
  let version: { atMs: number; told: string } | null = null;
  /** Grows with every event, so that an answer begun before it does not count as new. */
  let events = 0;
  let answeredEvents = -1;

  /** It changes with an upgrade, so it is asked once an hour; null while the last one holds. */
  async function askVersion(nowMs: number): Promise<string | null> {
    if (version !== null && nowMs - version.atMs < versionEveryMs) return null;
    const status = await toolbox.get(NodeStatus, '/nodes/localhost/status');
    return status?.pveversion.split('/').slice(0, 2).join('/') ?? null;
  }

  async function ask(): Promise<Slow> {
    const atMs = clock.monotonicMs();
    const askedEvents = events;
    const [resources, told, gauged, ceph] = await Promise.all([
      toolbox.get(Resources, '/cluster/resources'),
      askVersion(atMs),
      readGauged(toolbox, files),
      readCeph(toolbox, files),
    ]);
    version = told === null ? version : { atMs, told };
    last = { atMs, resources, version: version?.told ?? null, gauged, ceph };
    answeredEvents = askedEvents;
    return last;
  }

  return {
    fresh() {
      const isFresh =
        last !== null && answeredEvents === events && clock.monotonicMs() - last.atMs < askEveryMs;
      if (last !== null && isFresh) return Promise.resolve(last);
      asking ??= ask().finally(() => {
        asking = null;
      });
      return asking;
    },
    latest: () =>
      last !== null && clock.monotonicMs() - last.atMs < meaninglessAfterMs ? last : null,
    expire() {
      events += 1;
    },
  };
}
