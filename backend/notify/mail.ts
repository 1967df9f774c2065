/** E-mail by nodemailer, which only this file imports: one connection a message, TLS demanded. */
import { createTransport } from 'nodemailer';
import type { ChannelTarget, Message } from './channels.ts';
import { NotSent } from './http.ts';

const timeoutMs = 15_000;

type Email = Extract<ChannelTarget, { kind: 'email' }>;

/** @throws NotSent */
export async function sendMail(channel: Email, message: Message): Promise<void> {
  const { host, port, tls, user, password, from, to } = channel;
  const transport = createTransport({
    host,
    port,
    secure: tls === 'implicit',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(user !== undefined && { auth: { user, pass: password ?? '' } }),
  });
  const links = message.actions.map(({ label, url }) => `${label}: ${url}`);
  try {
    await transport.sendMail({
      from,
      to,
      subject: message.title,
      text: [message.text, ...links].join('\n\n'),
      messageId: `<${message.id}@kernreaktor>`,
      date: new Date(message.atMs),
      headers: { 'Auto-Submitted': 'auto-generated' },
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new NotSent(`${host}:${port} did not take the mail: ${why}`);
  } finally {
    transport.close();
  }
}
