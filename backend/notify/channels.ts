/**
 * Where notices go: what each kind of channel needs to be told, which part of that is secret, and
 * what a message is. Secrets stand sealed in a table of their own and are never answered.
 */
import { z } from 'zod';

const Url = z
  .url({ protocol: /^https?$/, error: 'use https://host/path' })
  .max(2_048)
  .refine((text) => new URL(text).username === '', 'write secrets in their own field, not here');
const Secret = z.string().min(1).max(4_096);
const Address = z.email('use an address such as ada@example.org').max(320);
const ntfyTopic = z.string().regex(/^[\w-]{1,64}$/, 'use 1 to 64 letters, digits, _ or -');

export const ChannelTarget = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('ntfy'),
    url: Url.describe('The server, without the topic'),
    topic: ntfyTopic,
    token: Secret.optional(),
  }),
  z.strictObject({ kind: z.literal('gotify'), url: Url, token: Secret.optional() }),
  z.strictObject({
    kind: z.literal('discord'),
    webhookUrl: Url.optional().describe('Secret: who knows it may post'),
  }),
  z.strictObject({
    kind: z.literal('email'),
    host: z.string().min(1).max(255),
    port: z.int().min(1).max(65_535).default(587),
    tls: z
      .enum(['starttls', 'implicit', 'none'])
      .default('starttls')
      .describe('none: only towards a mail server of this machine'),
    user: z.string().max(320).optional(),
    password: Secret.optional(),
    from: Address,
    to: z.array(Address).min(1).max(16),
  }),
  z.strictObject({
    kind: z.literal('apprise'),
    url: Url.describe('The notify address of an Apprise API, such as https://host/notify/key'),
    tag: z.string().max(128).optional(),
  }),
  z.strictObject({
    kind: z.literal('webhook'),
    url: Url,
    secret: z
      .string()
      .regex(/^whsec_[A-Za-z0-9+/=]{32,128}$/, 'use whsec_ and 24 to 64 bytes in base64')
      .optional(),
  }),
]);
export type ChannelTarget = z.infer<typeof ChannelTarget>;
export type ChannelKind = ChannelTarget['kind'];

/** Of each kind the field that is kept sealed; null: none. It must be there, or is optional. */
const secretFields = {
  ntfy: { field: 'token', isNeeded: false },
  gotify: { field: 'token', isNeeded: true },
  discord: { field: 'webhookUrl', isNeeded: true },
  email: { field: 'password', isNeeded: false },
  apprise: null,
  webhook: { field: 'secret', isNeeded: true },
} as const satisfies Record<ChannelKind, { field: string; isNeeded: boolean } | null>;

export const secretFieldOf = (kind: ChannelKind) => secretFields[kind];

/** Parts it into what may be shown and what is sealed. */
export function parted(target: ChannelTarget): { shown: ChannelTarget; secret: string | null } {
  const secret = secretFieldOf(target.kind);
  if (secret === null) return { shown: target, secret: null };
  const { [secret.field]: value = null, ...shown } = target as Record<string, unknown>;
  return {
    shown: ChannelTarget.parse(shown),
    secret: typeof value === 'string' ? value : null,
  };
}

export function rejoined(shown: ChannelTarget, secret: string | null): ChannelTarget {
  const field = secretFieldOf(shown.kind)?.field;
  if (field === undefined || secret === null) return shown;
  return ChannelTarget.parse({ ...shown, [field]: secret });
}

export const severities = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof severities)[number];

export type Message = {
  /** Of the delivery: the same at every attempt, so that a receiver can drop a repetition. */
  id: string;
  atMs: number;
  rule: string;
  severity: Severity;
  title: string;
  text: string;
  cluster: string | null;
  /** Whether it tells that something is over. */
  isRecovery: boolean;
  /** What a person may do from the message itself: one-use addresses. */
  actions: readonly { label: string; url: string }[];
};
