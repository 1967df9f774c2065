/**
 * What kernreaktor.yaml says of power: which plug a node hangs on, which class of machine it is.
 * The file is checked here, with a message for every field; nothing is connected.
 */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { type Curve, shippedClasses } from './curve.ts';
import { parsePath, type PlugReader, units } from './reading.ts';

const wattsMax = 100_000;
const watts = z.number().min(0).max(wattsMax);
const ClassName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'use lower-case letters, digits and hyphens');

const Points = z
  .strictObject({ idleWatts: watts, loadedWatts: watts })
  .refine(({ idleWatts, loadedWatts }) => idleWatts <= loadedWatts, {
    message: 'must not be less than idleWatts',
    path: ['loadedWatts'],
  });
const SpecCurve = z.strictObject({
  watts: z.array(watts).length(11, 'write eleven watts: at 0, 10, 20 .. 100 % of the cpu'),
});
const PowerClass = z.union([SpecCurve, Points], {
  error: 'write idleWatts and loadedWatts, or watts with eleven points',
});

/** [MQTT-4.7.1-1]: exact topics only, so that what is mapped is what is heard. */
const topic = z
  .string()
  .min(1)
  .max(1_024)
  .regex(/^[^+#\0]*$/, 'name one topic, without + and #')
  .refine((text) => !text.startsWith('kr/'), 'topics below kr/ are those of Kernreaktor itself')
  .refine((text) => !text.startsWith('$'), 'topics that begin with $ are those of the broker');
/** Part of a topic. */
const device = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[^+#\0]*$/, 'write the name of the device as its topics show it, without + and #');
const channel = z.int().min(0).max(31).default(0);
const maxAgeMs = z.int().min(10_000).max(86_400_000).default(600_000);
const path = z
  .string()
  .max(256)
  .refine(
    (text) => parsePath(text) !== null,
    'write keys and indices, like ENERGY.Power or a[0].w',
  );

const PlugSettings = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ kind: z.literal('shelly-gen1'), device, channel, maxAgeMs }),
    z.strictObject({ kind: z.literal('shelly-gen2'), device, channel, maxAgeMs }),
    z.strictObject({ kind: z.literal('tasmota'), device, maxAgeMs }),
    z.strictObject({ kind: z.literal('zigbee2mqtt'), device, maxAgeMs }),
    z.strictObject({
      kind: z.literal('mqtt'),
      topic,
      path: path.optional(),
      unit: z.enum(units, { error: 'use W, kW or mW' }).default('W'),
      maxAgeMs,
    }),
  ],
  { error: 'use shelly-gen1, shelly-gen2, tasmota, zigbee2mqtt or mqtt' },
);
type PlugSettings = z.infer<typeof PlugSettings>;

export const NodePower = z.strictObject({
  plug: PlugSettings.optional(),
  class: ClassName.optional(),
});

const absolute = z.string().refine(isAbsolute, 'write an absolute path');
const PlugBroker = z
  .strictObject({
    url: z.url({
      protocol: /^(mqtts?|wss?)$/,
      error: 'name the broker of the plugs, for example mqtt://192.168.1.5:1883',
    }),
    user: z.string().min(1).max(256).optional(),
    passwordFile: absolute.optional(),
    caFile: absolute.optional(),
  })
  .refine((asked) => (asked.user === undefined) === (asked.passwordFile === undefined), {
    message: 'set user and passwordFile together',
    path: ['user'],
  });
export type PlugBroker = z.infer<typeof PlugBroker>;

export const PowerFile = z.strictObject({
  broker: PlugBroker.optional(),
  classes: z.record(ClassName, PowerClass).default({}),
  /** In the currency of the house. */
  pricePerKilowattHour: z.number().min(0).max(1_000).optional(),
});
type PowerFile = z.infer<typeof PowerFile>;

type Clusters = Readonly<
  Record<string, { nodes?: Readonly<Record<string, { power?: z.infer<typeof NodePower> }>> }>
>;

/** Where each reading comes from, by cluster and node. */
export type MappedNode = {
  cluster: string;
  node: string;
  plug: PlugReader | null;
  curve: Curve | null;
};
export type PowerPlan = {
  broker: PlugBroker | null;
  nodes: readonly MappedNode[];
  pricePerKilowattHour: number | null;
};
export const noPower: PowerPlan = { broker: null, nodes: [], pricePerKilowattHour: null };

const curveOf = (points: z.infer<typeof PowerClass>): Curve =>
  'watts' in points ? points.watts : [points.idleWatts, points.loadedWatts];

/** The devices' own spellings, as their makers document them. */
function readerOf(plug: PlugSettings): PlugReader {
  const { maxAgeMs } = plug;
  switch (plug.kind) {
    case 'shelly-gen1':
      return reader(`shellies/${plug.device}/relay/${plug.channel}/power`, '', maxAgeMs);
    case 'shelly-gen2':
      return reader(`${plug.device}/status/switch:${plug.channel}`, 'apower', maxAgeMs);
    case 'tasmota':
      return reader(`tele/${plug.device}/SENSOR`, 'ENERGY.Power', maxAgeMs);
    case 'zigbee2mqtt':
      return reader(`zigbee2mqtt/${plug.device}`, 'power', maxAgeMs);
    case 'mqtt':
      return { ...reader(plug.topic, plug.path ?? '', maxAgeMs), unit: plug.unit };
    default:
      return plug satisfies never;
  }
}

const reader = (named: string, at: string, maxAgeMs: number): PlugReader => ({
  topic: named,
  path: parsePath(at) ?? [],
  unit: 'W',
  maxAgeMs,
});

const mapped = (clusters: Clusters) =>
  Object.entries(clusters).flatMap(([cluster, { nodes = {} }]) =>
    Object.entries(nodes).flatMap(([node, { power }]) =>
      power === undefined ? [] : [{ cluster, node, power }],
    ),
  );

/** What no single value shows, at the place to mend. */
export function powerContradictions(
  power: PowerFile | undefined,
  clusters: Clusters,
): { path: PropertyKey[]; hint: string }[] {
  const classes = { ...shippedClasses, ...power?.classes };
  const takenBy = new Map<string, string>();
  return mapped(clusters).flatMap(({ cluster, node, power: own }) => {
    const at = ['clusters', cluster, 'nodes', node, 'power'];
    const found: { path: PropertyKey[]; hint: string }[] = [];
    if (own.class !== undefined && !Object.hasOwn(classes, own.class)) {
      const hint = `names no class of power.classes (${Object.keys(classes).join(', ')})`;
      found.push({ path: [...at, 'class'], hint });
    }
    if (own.plug === undefined) return found;
    if (power?.broker === undefined) {
      const hint = 'power.broker must name the broker that this plug publishes to';
      found.push({ path: [...at, 'plug'], hint });
    }
    const { topic: heard, path: value } = readerOf(own.plug);
    const key = `${heard} ${value.join('.')}`;
    const other = takenBy.get(key);
    if (other !== undefined) {
      found.push({ path: [...at, 'plug'], hint: `is the plug of ${other} already` });
    }
    takenBy.set(key, `${cluster}/${node}`);
    return found;
  });
}

/** Of a checked file. */
export function powerPlan(power: PowerFile | undefined, clusters: Clusters): PowerPlan {
  const own = Object.entries(power?.classes ?? {});
  const classes = new Map<string, Curve>([
    ...Object.entries(shippedClasses),
    ...own.map(([name, points]): [string, Curve] => [name, curveOf(points)]),
  ]);
  const nodes = mapped(clusters).map(({ cluster, node, power: { plug, class: name } }) => ({
    cluster,
    node,
    plug: plug === undefined ? null : readerOf(plug),
    curve: name === undefined ? null : (classes.get(name) ?? null),
  }));
  const { broker = null, pricePerKilowattHour = null } = power ?? {};
  return { broker, nodes, pricePerKilowattHour };
}
