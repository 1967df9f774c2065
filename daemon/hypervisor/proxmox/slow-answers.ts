/**
 * What only `pvesh` can tell: HA, options, storages, locks. Each question is a process of about a
 * second, so all are asked together, once a minute at most and after an effect. A part without a
 * usable answer is null, and everything is null again once it is three minutes old.
 */
import type { Clock } from '../../../broker/contract/ports.ts';
import type { Files } from '../../sample/files.ts';
import { NodeStatus, Resources } from './answers.ts';
import { type Gauged, readGauged } from './gauged.ts';
import { ClusterOptions, HaCurrent, type HaAnswers, ManagerStatus } from './ha.ts';
import type { Toolbox } from './toolbox.ts';

export type Slow = {
  atMs: number;
  resources: Resources | null;
  ha: HaAnswers | null;
  /** `pve-manager/9.2.2`. */
  version: string | null;
  gauged: Gauged;
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
const meaninglessAfterMs = 180_000;

export async function askHa(toolbox: Toolbox): Promise<HaAnswers | null> {
  const [manager, services, options] = await Promise.all([
    toolbox.get(ManagerStatus, '/cluster/ha/status/manager_status'),
    toolbox.get(HaCurrent, '/cluster/ha/status/current'),
    toolbox.get(ClusterOptions, '/cluster/options'),
  ]);
  // A guest taken for free because one of the answers failed could be moved against its owner.
  return manager && services && options ? { manager, services, options } : null;
}

export type SlowOptions = { toolbox: Toolbox; files: Files; clock: Clock };

export function createSlowAnswers({ toolbox, files, clock }: SlowOptions): SlowAnswers {
  let last: Slow | null = null;
  let asking: Promise<Slow> | null = null;
  /** Grows with every event, so that an answer begun before it does not count as new. */
  let events = 0;
  let answeredEvents = -1;

  async function ask(): Promise<Slow> {
    const atMs = clock.monotonicMs();
    const askedEvents = events;
    const [resources, ha, status, gauged] = await Promise.all([
      toolbox.get(Resources, '/cluster/resources'),
      askHa(toolbox),
      toolbox.get(NodeStatus, '/nodes/localhost/status'),
      readGauged(toolbox, files),
    ]);
    const version = status?.pveversion.split('/').slice(0, 2).join('/') ?? null;
    last = { atMs, resources, ha, version, gauged };
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
