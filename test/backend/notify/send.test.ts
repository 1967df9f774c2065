import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChannelTarget, type Message, parted, rejoined } from '../../../backend/notify/channels.ts';
import { NotSent } from '../../../backend/notify/http.ts';
import { send } from '../../../backend/notify/send.ts';
import { type Receiver, startReceiver } from '../../support/receiver.ts';

let receiver: Receiver;
beforeAll(async () => {
  receiver = await startReceiver();
});
beforeEach(() => {
  receiver.received.length = 0;
  receiver.answer(200);
});
afterAll(() => receiver.stop());

const message: Message = {
  id: '01890000-0000-7000-8000-000000000001',
  atMs: 1_800_000_000_000,
  rule: 'wake-failed',
  severity: 'critical',
  title: 'pve2 of home did not wake',
  text: 'Switch it on by hand, @everyone.',
  cluster: 'home',
  isRecovery: false,
  actions: [{ label: 'Approve', url: 'https://kr.example/a/1' }],
};
const sent = (target: object, more: Partial<Message> = {}): Promise<void> =>
  send(ChannelTarget.parse(target), { ...message, ...more }, Date.now());

describe('a message', () => {
  it('goes to ntfy with its topic, priority, token and buttons', async () => {
    await sent({ kind: 'ntfy', url: `${receiver.url}/`, topic: 'house', token: 'tk_secret' });
    expect(receiver.received[0]).toMatchObject({ method: 'POST', path: '/' });
    expect(receiver.received[0]?.headers['authorization']).toBe('Bearer tk_secret');
    expect(receiver.json(0)).toMatchObject({
      topic: 'house',
      title: message.title,
      priority: 5,
      actions: [
        { action: 'http', label: 'Approve', url: 'https://kr.example/a/1', method: 'POST' },
      ],
    });
    await sent({ kind: 'ntfy', url: receiver.url, topic: 'house' }, { isRecovery: true });
    expect(receiver.json(1)).toMatchObject({ priority: 2 });
  });

  it('goes to Gotify with its token in a header, never in the address', async () => {
    await sent({ kind: 'gotify', url: receiver.url, token: 'AbC' });
    expect(receiver.received[0]).toMatchObject({ path: '/message' });
    expect(receiver.received[0]?.headers['x-gotify-key']).toBe('AbC');
    expect(receiver.json(0)).toMatchObject({ title: message.title, priority: 8 });
  });

  it('goes to Discord and mentions nobody, whatever a guest is called', async () => {
    await sent({ kind: 'discord', webhookUrl: `${receiver.url}/api/webhooks/1/x` });
    expect(receiver.json(0)).toMatchObject({ allowed_mentions: { parse: [] } });
    expect(String(receiver.json(0)['content'])).toContain('did not wake');
  });

  it('goes to an Apprise API with its type and tag', async () => {
    await sent({ kind: 'apprise', url: `${receiver.url}/notify/key`, tag: 'family' });
    expect(receiver.received[0]?.path).toBe('/notify/key');
    expect(receiver.json(0)).toMatchObject({ type: 'failure', tag: 'family' });
  });

  it('goes to a webhook signed so that the standard library believes it, and no other key', async () => {
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
    await sent({ kind: 'webhook', url: `${receiver.url}/hook`, secret });
    const [got] = receiver.received;
    const verified = new Webhook(secret).verify(got?.body ?? '', got?.headers ?? {});
    expect(verified).toMatchObject({ type: 'notice.opened', data: { rule: 'wake-failed' } });
    expect(got?.headers['webhook-id']).toBe(message.id);
    const other = new Webhook(`whsec_${Buffer.alloc(32, 8).toString('base64')}`);
    expect(() => other.verify(got?.body ?? '', got?.headers ?? {})).toThrow(
      'No matching signature',
    );
    const changed = (got?.body ?? '').replace('pve2', 'pve3');
    expect(() => new Webhook(secret).verify(changed, got?.headers ?? {})).toThrow('signature');
  });

  it('goes by mail to everyone it is for, and says so when it is not taken', async () => {
    const mails: string[] = [];
    const server = new SMTPServer({
      disabledCommands: ['STARTTLS'],
      authOptional: true,
      onData(stream, _session, done) {
        let text = '';
        stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
        stream.on('end', () => {
          mails.push(text);
          done();
        });
      },
      onRcptTo: ({ address }, _session, done) =>
        done(address.startsWith('nobody') ? new Error('no such mailbox') : null),
    });
    server.listen(0, '127.0.0.1');
    await once(server.server, 'listening');
    const { port } = server.server.address() as AddressInfo;
    const mail = { kind: 'email', host: '127.0.0.1', port, from: 'kr@house.example' };
    try {
      await sent({ ...mail, tls: 'none', to: ['ada@house.example', 'ben@house.example'] });
      expect(mails[0]).toContain('Subject: pve2 of home did not wake');
      expect(mails[0]).toContain('To: ada@house.example, ben@house.example');
      expect(mails[0]).toContain('Auto-Submitted: auto-generated');
      await expect(sent({ ...mail, tls: 'none', to: ['nobody@house.example'] })).rejects.toThrow(
        NotSent,
      );
      // Nobody reads a password on the way: without TLS there is no mail.
      await expect(sent({ ...mail, to: ['ada@house.example'] })).rejects.toThrow(NotSent);
      expect(mails).toHaveLength(1);
    } finally {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    }
  });
});

describe('a receiver', () => {
  const target = () => ({ kind: 'ntfy', url: receiver.url, topic: 'house' });

  it.each([302, 404, 500])(
    'that answers %i was not told, and its words are not repeated',
    async (code) => {
      receiver.answer(code);
      const failure = await sent(target()).catch((error: unknown) => error as Error);
      expect(failure).toBeInstanceOf(NotSent);
      expect((failure as Error).message).toMatch(
        new RegExp(`^127\\.0\\.0\\.1:\\d+ answered ${code}$`),
      );
      expect(receiver.received).toHaveLength(1);
    },
  );

  it('of link-local addresses is never called', async () => {
    for (const host of ['169.254.169.254', '[fe80::1]', '[::ffff:169.254.169.254]']) {
      const failure = sent({ kind: 'ntfy', url: `http://${host}`, topic: 'house' });
      await expect(failure).rejects.toThrow(/link-local|not reached/);
    }
  });
});

describe('a secret', () => {
  it.each([
    { kind: 'ntfy', url: 'https://ntfy.example', topic: 't', token: 'tk_hidden' },
    { kind: 'gotify', url: 'https://gotify.example', token: 'hidden-b' },
    { kind: 'discord', webhookUrl: 'https://discord.example/api/webhooks/1/c' },
    { kind: 'webhook', url: 'https://h.example', secret: `whsec_${'A'.repeat(43)}=` },
  ])('of $kind is parted from what is shown, and found again', (given) => {
    const target = ChannelTarget.parse(given);
    const { shown, secret } = parted(target);
    expect(secret).not.toBeNull();
    expect(JSON.stringify(shown)).not.toContain(String(secret));
    expect(rejoined(shown, secret)).toEqual(target);
  });
});
