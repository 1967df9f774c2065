/**
 * A quick yes for the values of a sample, which are 99 % of what crosses the wire. It answers the
 * very object it was given, and only where the schema of telemetry.ts would answer its equal: every
 * key known and present, every value null or within the bounds of the catalogue. Whatever else it
 * meets it leaves to the schema, which decides and names the field. So it can cost time when it is
 * wrong about something odd, and must never take what the schema refuses.
 */
import { guestIdPattern } from './ids.ts';
import {
  guestsPerNodeMax,
  nameLengthMax,
  tagLengthMax,
  tagsPerGuestMax,
  textLengthMax,
} from './limits.ts';
import { guestMetrics, type Metric, nodeMetrics } from './metrics.ts';
import { GuestKind, GuestSample, GuestState, NodeSample, Telemetry } from './telemetry.ts';

type Unknowns = Readonly<Record<string, unknown>>;

const nodeKeyCount = Object.keys(NodeSample.shape).length;
const guestKeyCount = Object.keys(GuestSample.shape).length;
const guestKinds: ReadonlySet<unknown> = new Set(GuestKind.options);
const guestStates: ReadonlySet<unknown> = new Set(GuestState.options);
/** A few fields, once a sample. */
const Rest = Telemetry.omit({ node: true, guests: true });

const isText = (value: unknown, lengthMax: number): boolean =>
  typeof value === 'string' && value.length <= lengthMax;

/** NaN and what is infinite is within no bounds. */
function hasPlausible(source: Unknowns, metrics: readonly Metric[]): boolean {
  for (const { name, min, max } of metrics) {
    const value = source[name];
    if (value === null) continue;
    if (typeof value !== 'number' || !(value >= min && value <= max)) return false;
  }
  return true;
}

const isObject = (value: unknown): value is Unknowns => typeof value === 'object' && value !== null;

const isNode = (node: unknown): boolean =>
  isObject(node) && hasPlausible(node, nodeMetrics) && Object.keys(node).length === nodeKeyCount;

const areTags = (tags: unknown): boolean =>
  Array.isArray(tags) &&
  tags.length <= tagsPerGuestMax &&
  tags.every((tag) => isText(tag, tagLengthMax));

function isGuest(guest: unknown): boolean {
  if (!isObject(guest)) return false;
  const { id, kind, name, state, tags, lock, haState } = guest;
  return (
    typeof id === 'string' &&
    guestIdPattern.test(id) &&
    guestKinds.has(kind) &&
    isText(name, nameLengthMax) &&
    guestStates.has(state) &&
    areTags(tags) &&
    (lock === null || isText(lock, textLengthMax)) &&
    (haState === null || isText(haState, textLengthMax)) &&
    hasPlausible(guest, guestMetrics) &&
    Object.keys(guest).length === guestKeyCount
  );
}

const areGuests = (guests: unknown): boolean =>
  guests === null ||
  (Array.isArray(guests) && guests.length <= guestsPerNodeMax && guests.every(isGuest));

/** The body of a telemetry message that is beyond doubt; undefined for the schema to judge. */
export function quickTelemetry(body: unknown): Telemetry | undefined {
  if (!isObject(body) || !isNode(body['node']) || !areGuests(body['guests'])) return undefined;
  const rest = Rest.safeParse(body);
  if (!rest.success) return undefined;
  const { node, guests } = body as Pick<Telemetry, 'node' | 'guests'>;
  return { ...rest.data, node, guests };
}
