/**
 * Writes the server's own figures into a metrics store on another server, so that Grafana shows
 * them without a Prometheus: measurement `kr`, the name without `kr_` as field, labels as tags.
 * A round that fails is counted and forgotten: figures of a past minute are worth no memory.
 */
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import type { Point } from './metrics.ts';

const everyMs = 10_000;

export type PublisherDeps = {
  points: () => Promise<readonly Point[]>;
  send: (lines: readonly string[]) => Promise<unknown>;
  escape: (tag: string) => string;
  clock: Clock;
  log: Log;
};

/** One line per set of labels, as every field of a line has the same ones. */
export function linesOfPoints(
  points: readonly Point[],
  escape: PublisherDeps['escape'],
  atMs: number,
): string[] {
  const fieldsByTags = new Map<string, string[]>();
  for (const { name, labels, value } of points) {
    if (!Number.isFinite(value)) continue;
    const tags = Object.entries(labels)
      .filter(([, text]) => text !== '')
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([label, text]) => `,${label}=${escape(text)}`)
      .join('');
    const fields = fieldsByTags.get(tags) ?? [];
    fields.push(`${name.replace(/^kr_/, '')}=${value}`);
    fieldsByTags.set(tags, fields);
  }
  return [...fieldsByTags].map(([tags, fields]) => `kr${tags} ${fields.join(',')} ${atMs}`);
}

export function startPublisher(deps: PublisherDeps): { stop(): void } {
  const { points, send, escape, clock, log } = deps;
  let cancel: Cancel = () => undefined;
  let isStopped = false;
  const publish = async (): Promise<void> => {
    try {
      const lines = linesOfPoints(await points(), escape, clock.wallMs());
      if (!isStopped) await send(lines);
    } catch (error) {
      log.warn({ err: error }, 'own figures not stored this time');
    }
    if (!isStopped) cancel = clock.after(everyMs, publish);
  };
  cancel = clock.after(everyMs, publish);
  return {
    stop() {
      isStopped = true;
      cancel();
    },
  };
}
