/**
 * A range as CSV (RFC 4180), asked for and written piece by piece in order of time, so that a
 * month of a fleet costs the memory of one piece. A step without a value keeps its row, with an
 * empty field, from the first piece on in which somebody was there: a gap is seen as a gap. Pure but for the asking.
 */
import type { RangeQuery, Series } from '../store/ports.ts';

/** Numbers of a sheet never begin a formula; names of ours neither, but quotes cost nothing. */
const field = (text: string): string => `"${text.replaceAll('"', '""')}"`;

type Entity = { node: string; guest: string | undefined };
type Values = { entities: Map<string, Entity>; byName: Map<string, Series> };

const keyOf = ({ node, guest }: { node: string; guest?: string | undefined }): string =>
  `${node}\n${guest ?? ''}`;

/** Adds whom this piece is the first to know; who was known keeps a row without values. */
function take({ entities }: Pick<Values, 'entities'>, series: readonly Series[]): Values {
  const byName = new Map<string, Series>();
  for (const each of series) {
    entities.set(keyOf(each), { node: each.node, guest: each.guest });
    byName.set(`${keyOf(each)}\n${each.metric}`, each);
  }
  return { entities, byName };
}

function* linesOf(query: RangeQuery, { entities, byName }: Values): Generator<string> {
  const firstMs = Math.floor(query.fromMs / query.stepMs) * query.stepMs;
  const isGuest = query.entity === 'guest';
  for (let atMs = firstMs; atMs < query.toMs; atMs += query.stepMs) {
    const index = (atMs - firstMs) / query.stepMs;
    for (const [key, { node, guest }] of entities) {
      const names = [field(query.cluster), field(node), ...(isGuest ? [field(guest ?? '')] : [])];
      const cells = query.metrics.map(
        (metric) => byName.get(`${key}\n${metric}`)?.points[index]?.[1] ?? '',
      );
      yield [new Date(atMs).toISOString(), ...names, ...cells].join(',');
    }
  }
}

/** Header first; lines end in CRLF. `stepsPerPiece` bounds what one question answers. */
export async function* csvOf(
  query: RangeQuery,
  stepsPerPiece: number,
  ask: (query: RangeQuery) => Promise<Series[]>,
): AsyncGenerator<string> {
  const guest = query.entity === 'guest' ? ['guest'] : [];
  yield `${['time', 'cluster', 'node', ...guest, ...query.metrics].join(',')}\r\n`;
  const pieceMs = stepsPerPiece * query.stepMs;
  // Pieces meet at steps, or a step would have two rows.
  let fromMs = query.fromMs;
  const entities = new Map<string, Entity>();
  while (fromMs < query.toMs) {
    const endMs = Math.floor((fromMs + pieceMs) / query.stepMs) * query.stepMs;
    const toMs = Math.min(query.toMs, Math.max(endMs, fromMs + 1));
    const piece = { ...query, fromMs, toMs };
    const lines = [...linesOf(piece, take({ entities }, await ask(piece)))];
    if (lines.length > 0) yield `${lines.join('\r\n')}\r\n`;
    fromMs = toMs;
  }
}
