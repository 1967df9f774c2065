/**
 * A message in the words of each kind of channel. Sending again sends the same message: its id is
 * that of the delivery. Nothing here decides who gets what, or when.
 */
import { Webhook } from 'standardwebhooks';
import type { ChannelTarget, Message, Severity } from './channels.ts';
import { NotSent, post } from './http.ts';
import { sendMail } from './mail.ts';

type Of<K extends ChannelTarget['kind']> = Extract<ChannelTarget, { kind: K }>;

const needed = (value: string | undefined, what: string): string => {
  if (value !== undefined) return value;
  throw new NotSent(`the ${what} of this channel is missing: set it anew`);
};

/** 1 (min) to 5 (max), by which ntfy rings or does not. */
const ntfyPriority: Record<Severity, number> = { info: 2, warning: 3, critical: 5 };
const gotifyPriority: Record<Severity, number> = { info: 2, warning: 5, critical: 8 };
const appriseType: Record<Severity, string> = {
  info: 'info',
  warning: 'warning',
  critical: 'failure',
};

const base = (url: string): string => url.replace(/\/+$/, '');

function toNtfy({ url, topic, token }: Of<'ntfy'>, message: Message): Promise<void> {
  const actions = message.actions.map(({ label, url: address }) => ({
    action: 'http',
    label,
    url: address,
    method: 'POST',
    clear: true,
  }));
  return post({
    url: base(url),
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    body: JSON.stringify({
      topic,
      title: message.title,
      message: message.text,
      priority: message.isRecovery ? 2 : ntfyPriority[message.severity],
      tags: [message.isRecovery ? 'white_check_mark' : 'electric_plug', message.rule],
      ...(actions.length > 0 && { actions }),
    }),
  });
}

const toGotify = ({ url, token }: Of<'gotify'>, message: Message): Promise<void> =>
  post({
    url: `${base(url)}/message`,
    headers: { 'x-gotify-key': needed(token, 'token') },
    body: JSON.stringify({
      title: message.title,
      message: message.text,
      priority: gotifyPriority[message.severity],
    }),
  });

const discordMax = 2_000;

const toDiscord = ({ webhookUrl }: Of<'discord'>, message: Message): Promise<void> =>
  post({
    url: needed(webhookUrl, 'webhookUrl'),
    body: JSON.stringify({
      username: 'Kernreaktor',
      content: `**${message.title}**\n${message.text}`.slice(0, discordMax),
      // A guest may be called @everyone.
      allowed_mentions: { parse: [] },
    }),
  });

const toApprise = ({ url, tag }: Of<'apprise'>, message: Message): Promise<void> =>
  post({
    url,
    body: JSON.stringify({
      title: message.title,
      body: message.text,
      type: message.isRecovery ? 'success' : appriseType[message.severity],
      ...(tag !== undefined && { tag }),
    }),
  });

/** Standard Webhooks (standardwebhooks.com): id, time and HMAC-SHA256 over both and the body. */
function toWebhook({ url, secret }: Of<'webhook'>, message: Message, nowMs: number): Promise<void> {
  const { id, atMs, actions, ...data } = message;
  const body = JSON.stringify({
    type: `notice.${message.isRecovery ? 'resolved' : 'opened'}`,
    timestamp: new Date(atMs).toISOString(),
    data: { ...data, actions },
  });
  const now = new Date(nowMs);
  return post({
    url,
    headers: {
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1_000)),
      'webhook-signature': new Webhook(needed(secret, 'secret')).sign(id, now, body),
    },
    body,
  });
}

/** @throws NotSent with why, which is shown to administrators and never holds a secret. */
export function send(channel: ChannelTarget, message: Message, nowMs: number): Promise<void> {
  switch (channel.kind) {
    case 'ntfy':
      return toNtfy(channel, message);
    case 'gotify':
      return toGotify(channel, message);
    case 'discord':
      return toDiscord(channel, message);
    case 'email':
      return sendMail(channel, message);
    case 'apprise':
      return toApprise(channel, message);
    case 'webhook':
      return toWebhook(channel, message, nowMs);
    default:
      return channel satisfies never;
  }
}
