/**
 * The section `wakers` of daemon.yaml: for each node the ways to switch it on, the first one
 * first. Passwords stand in files, never in here. Documented for people in docs/wakers.md.
 */
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { NodeId } from '../../broker/contract/ids.ts';

const absolute = z.string().refine(isAbsolute, 'write an absolute path');
/** Becomes an argument of ipmitool: no option, no blank. */
const host = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$/, 'write a host name or an address');
const user = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/, 'use 1 to 64 letters, digits, _ . @ or -');
const fingerprint = z
  .string()
  .transform((text) => text.replaceAll(':', '').toLowerCase())
  .pipe(z.string().regex(/^[0-9a-f]{64}$/, 'write the SHA-256 of the certificate, 64 hex digits'));
/** [MQTT-4.7.1-1]: a publish names one topic, without wildcards. */
const topic = z
  .string()
  .min(1)
  .max(1_024)
  .regex(/^[^+#\0]*$/, 'name one topic, without + and #');
const payload = z.string().min(1).max(1_024);

const Wol = z.strictObject({ kind: z.literal('wol') });

const Ipmi = z.strictObject({
  kind: z.literal('ipmi'),
  host,
  port: z.int().min(1).max(65_535).default(623),
  user,
  passwordFile: absolute,
  /** 17 is what current BMCs take; some old ones know only 3. */
  cipherSuite: z.int().min(0).max(17).optional(),
  program: absolute.default('/usr/bin/ipmitool'),
});

const Redfish = z
  .strictObject({
    kind: z.literal('redfish'),
    url: z.url({ protocol: /^https$/, error: 'name the BMC, for example https://10.0.0.5' }),
    user,
    passwordFile: absolute,
    /** Of the certificate that the BMC shows; most sign their own. */
    fingerprint: fingerprint.optional(),
    caFile: absolute.optional(),
    /** Where one BMC serves many machines; otherwise the only one there is. */
    system: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, 'write the Id of the system')
      .optional(),
  })
  .refine((asked) => asked.fingerprint === undefined || asked.caFile === undefined, {
    message: 'set fingerprint or caFile, not both',
  });

const Plug = z
  .strictObject({
    kind: z.literal('plug'),
    url: z.url({ protocol: /^(mqtts?|wss?)$/, error: 'name the broker of the plug, mqtt://...' }),
    user: z.string().min(1).max(256).optional(),
    passwordFile: absolute.optional(),
    caFile: absolute.optional(),
    topic,
    on: payload.default('ON'),
    /** Where the plug says what it did; without it a delivered message has to do. */
    stateTopic: topic.optional(),
    stateOn: payload.default('ON'),
  })
  .refine((asked) => (asked.user === undefined) === (asked.passwordFile === undefined), {
    message: 'set user and passwordFile together',
  });

const Script = z.strictObject({
  kind: z.literal('script'),
  program: absolute,
  timeoutMs: z.int().min(100).max(600_000).default(60_000),
});

const WakerSettings = z.discriminatedUnion('kind', [Wol, Ipmi, Redfish, Plug, Script], {
  error: 'kind: use wol, ipmi, redfish, plug or script',
});

/** One of each kind: a command names the kind that it wants. */
const Ways = z
  .array(WakerSettings)
  .min(1, 'name at least one way to wake the node, or remove it')
  .max(8)
  .refine((ways) => new Set(ways.map(({ kind }) => kind)).size === ways.length, {
    message: 'name each kind once per node',
  });

export const WakersByNode = z.record(NodeId, Ways);
export type WakersByNode = z.infer<typeof WakersByNode>;

export type IpmiSettings = z.infer<typeof Ipmi>;
export type RedfishSettings = z.infer<typeof Redfish>;
export type PlugSettings = z.infer<typeof Plug>;
export type ScriptSettings = z.infer<typeof Script>;

/** Every file with a password, with the node it is for. */
export const secretFilesOf = (
  wakers: WakersByNode,
): { path: string; node: string; kind: 'ipmi' | 'redfish' | 'plug' }[] =>
  Object.entries(wakers).flatMap(([node, ways]) =>
    ways.flatMap((way) =>
      'passwordFile' in way && way.passwordFile !== undefined
        ? [{ path: way.passwordFile, node, kind: way.kind }]
        : [],
    ),
  );
