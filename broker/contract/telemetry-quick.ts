/**
 * A quick yes for the values of a sample, which are 99 % of what crosses the wire. It answers the
 * very object it was given, and only where the schema of telemetry.ts would answer its equal: every
 * key known and present, every value null or within the bounds of the catalogue. Whatever else it
 * meets it leaves to the schema, which decides and names the field. So it can cost time when it is
 * wrong about something odd, and must never take what the schema refuses. Beside the objects it hands
 * out their numbers in one array: who copies only that leaves nothing for the collector.
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

/** Beyond all bounds, for what is neither a number nor null; JSON has no NaN, others may. */
function numberOf(value: unknown): number {
  if (value === null) return NaN;
  return typeof value === 'number' && !Number.isNaN(value) ? value : Infinity;
}

function takeNode(node: Unknowns, numbers: Float64Array): void {
  for (let index = 0; index < nodeMetrics.length; index += 1) {
    numbers[index] = numberOf(node[(nodeMetrics[index] as Metric).name]);
  }
}

/** Written out in the order of the catalogue: read by name from a list, each number is an object. */
function takeGuest(guest: Unknowns, numbers: Float64Array, at: number): void {
  numbers[at] = numberOf(guest['cpuRatio']);
  numbers[at + 1] = numberOf(guest['cpuCount']);
  numbers[at + 2] = numberOf(guest['memoryUsedBytes']);
  numbers[at + 3] = numberOf(guest['memoryTotalBytes']);
  numbers[at + 4] = numberOf(guest['swapUsedBytes']);
  numbers[at + 5] = numberOf(guest['diskReadBytesPerSecond']);
  numbers[at + 6] = numberOf(guest['diskWriteBytesPerSecond']);
  numbers[at + 7] = numberOf(guest['networkInBytesPerSecond']);
  numbers[at + 8] = numberOf(guest['networkOutBytesPerSecond']);
  numbers[at + 9] = numberOf(guest['uptimeMs']);
  numbers[at + 10] = numberOf(guest['cpuPressureRatio']);
  numbers[at + 11] = numberOf(guest['ioPressureRatio']);
  numbers[at + 12] = numberOf(guest['memoryPressureRatio']);
  numbers[at + 13] = numberOf(guest['memoryFullPressureRatio']);
}

const boundsOf = (metrics: readonly Metric[], bound: 'min' | 'max') =>
  Float64Array.from(metrics, (metric) => metric[bound]);
const nodeBounds = { min: boundsOf(nodeMetrics, 'min'), max: boundsOf(nodeMetrics, 'max') };
const guestBounds = { min: boundsOf(guestMetrics, 'min'), max: boundsOf(guestMetrics, 'max') };

/** NaN stands for null, which is plausible. */
function arePlausible(numbers: Float64Array, at: number, { min, max }: typeof nodeBounds): boolean {
  for (let index = 0; index < min.length; index += 1) {
    const value = numbers[at + index] as number;
    if (value < (min[index] as number) || value > (max[index] as number)) return false;
  }
  return true;
}

/** Without the array that `Object.keys` would make. */
function keyCount(source: Unknowns): number {
  let count = 0;
  for (const key in source) if (Object.hasOwn(source, key)) count += 1;
  return count;
}

const isObject = (value: unknown): value is Unknowns => typeof value === 'object' && value !== null;

const areTags = (tags: unknown): boolean =>
  Array.isArray(tags) &&
  tags.length <= tagsPerGuestMax &&
  tags.every((tag) => isText(tag, tagLengthMax));

function isGuest(guest: unknown, numbers: Float64Array, at: number): boolean {
  if (!isObject(guest)) return false;
  const { id, kind, name, state, tags, lock, haState } = guest;
  takeGuest(guest, numbers, at);
  return (
    typeof id === 'string' &&
    guestIdPattern.test(id) &&
    guestKinds.has(kind) &&
    isText(name, nameLengthMax) &&
    guestStates.has(state) &&
    areTags(tags) &&
    (lock === null || isText(lock, textLengthMax)) &&
    (haState === null || isText(haState, textLengthMax)) &&
    arePlausible(numbers, at, guestBounds) &&
    keyCount(guest) === guestKeyCount
  );
}

/** Of the sample that is being looked at: one array for all, which would else be half of the garbage. */
const scratch = new Float64Array(nodeMetrics.length + guestsPerNodeMax * guestMetrics.length);

/** The numbers of node and guests; undefined when anything of them is in doubt. */
function numbersOf(node: unknown, guests: unknown): Float64Array | undefined {
  if (!isObject(node) || keyCount(node) !== nodeKeyCount) return undefined;
  const list: unknown = guests ?? [];
  if (!Array.isArray(list) || list.length > guestsPerNodeMax) return undefined;
  const numbers = scratch.subarray(0, nodeMetrics.length + list.length * guestMetrics.length);
  takeNode(node, numbers);
  if (!arePlausible(numbers, 0, nodeBounds)) return undefined;
  let at: number = nodeMetrics.length;
  for (const guest of list) {
    if (!isGuest(guest, numbers, at)) return undefined;
    at += guestMetrics.length;
  }
  return numbers;
}

/**
 * The values of the node in the order of `nodeMetrics`, then those of each guest in that of
 * `guestMetrics`; NaN for null. Valid until the next sample is looked at: copy what is to be kept.
 */
export type Numbers = Float64Array;

/** The body of a telemetry message that is beyond doubt; undefined for the schema to judge. */
export function quickTelemetry(body: unknown): { body: Telemetry; numbers: Numbers } | undefined {
  if (!isObject(body) || body['guests'] === undefined) return undefined;
  const numbers = numbersOf(body['node'], body['guests']);
  if (!numbers) return undefined;
  const rest = Rest.safeParse(body);
  if (!rest.success) return undefined;
  const { node, guests } = body as Pick<Telemetry, 'node' | 'guests'>;
  return { body: { ...rest.data, node, guests }, numbers };
}
