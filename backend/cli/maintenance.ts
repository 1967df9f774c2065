/**
 * `kernreaktor maintenance <node>`: its guests move away, then it rests, asleep if that is wished;
 * `--end` wakes it and brings them back. It says what was ordered; `why` says how far it is.
 */
import { z } from 'zod';
import type { ClientApi } from './api.ts';
import { findSubject, NotFound } from './find.ts';
import { json } from './output.ts';

export type MaintenanceOrder = {
  sleep?: boolean;
  /** Its guests stay where they are: it is taken in hand as it is. */
  now?: boolean;
  end?: boolean;
  /** At the end, guests that were moved stay where they are. */
  stay?: boolean;
  reason?: string;
  json?: boolean;
};

/** @throws NotFound that names options which contradict each other */
function bodyOf({ sleep, now, end, stay, reason }: MaintenanceOrder): object {
  const why = reason === undefined ? {} : { reason };
  if (end === true) {
    if (sleep || now) throw new NotFound('--end takes neither --sleep nor --now');
    return { maintenance: false, ...why, ...(stay === true && { guestsReturn: false }) };
  }
  if (stay === true) throw new NotFound('--stay belongs to --end');
  if (now !== true) return { maintenance: true, evacuate: true, ...why, ...(sleep && { sleep }) };
  if (sleep) throw new NotFound('--now leaves its guests on it: it cannot --sleep');
  return { maintenance: true, ...why };
}

export async function maintain(
  { api }: { api: ClientApi },
  wanted: string,
  options: MaintenanceOrder,
): Promise<string> {
  const { kind, cluster, id } = await findSubject(api, wanted);
  if (kind !== 'node') throw new NotFound(`${wanted} is a guest: name a node`);
  const path = `/api/v1/clusters/${encodeURIComponent(cluster)}/nodes/${encodeURIComponent(id)}/maintenance`;
  const body = bodyOf(options);
  await api.ask(z.unknown(), { method: 'PUT', path, body });
  if (options.json) return json({ cluster, node: id, ...body });
  const name = `${cluster}/${id}`;
  const how = `kernreaktor why ${name} says how far it is`;
  if (options.end && options.stay)
    return `the maintenance of ${name} is over; guests stay where they are`;
  if (options.end) return `the maintenance of ${name} is over: its guests come back; ${how}`;
  if (options.now) return `${name} is in your hands; its guests stay on it`;
  const then = options.sleep ? 'then it goes to sleep' : 'then it is in your hands';
  return `${name} is being emptied, ${then}; ${how}`;
}
