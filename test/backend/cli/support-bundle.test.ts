import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ClientApi } from '../../../backend/cli/api.ts';
import { redact } from '../../../backend/cli/redact.ts';
import { supportBundle } from '../../../backend/cli/support-bundle.ts';

const hidden = [
  'hunter2-hunter2',
  'AGE-SECRET-KEY-1QQQQQQQQ',
  'ab'.repeat(32),
  'whsec_c2VjcmV0c2VjcmV0',
  '192.168.7.23',
  'fe80::1:2:3:4',
  '02:aa:bb:cc:dd:ee',
  'ada@example.org',
  'pve-attic',
  'castle-guest',
];

const text = `
KR_SQL_URL=mariadb://kr:hunter2-hunter2@192.168.7.23:3306/kernreaktor
KR_MQTT_PASSWORD=hunter2-hunter2
{"token": "${'ab'.repeat(32)}", "apiKey": "hunter2-hunter2"}
authorization: Bearer ${'ab'.repeat(32)}
key AGE-SECRET-KEY-1QQQQQQQQ and whsec_c2VjcmV0c2VjcmV0
pve-attic at 192.168.7.23, fe80::1:2:3:4, 02:aa:bb:cc:dd:ee, ada@example.org
guest castle-guest on PVE-ATTIC, and once more 192.168.7.23; loopback is 127.0.0.1`;

describe('what is redacted', () => {
  it('shows no secret, address or name', () => {
    const told = redact(text, ['pve-attic', 'castle-guest']);
    for (const value of hidden) expect(told.toLowerCase()).not.toContain(value.toLowerCase());
    expect(told).toContain('127.0.0.1');
    expect(told).toContain('<secret>@ip-1:3306/kernreaktor');
  });

  it('keeps together what belongs together', () => {
    const told = redact(text, ['pve-attic', 'castle-guest']);
    expect(told.match(/ip-1/g)).toHaveLength(3);
    const [name] = /name-\d/.exec(told.slice(told.indexOf('\nname-'))) ?? [];
    expect(told.match(new RegExp(String(name), 'g'))).toHaveLength(2);
  });

  it('leaves a name alone that is part of another word', () => {
    expect(redact('node nodes node-exporter', ['node'])).toBe('name-1 nodes node-exporter');
  });
});

describe('a support bundle', () => {
  const api: ClientApi = {
    ask: async (schema, { path }) =>
      schema.parse(
        path.includes('nodes')
          ? { items: [{ id: 'pve-attic', cluster: 'castle', address: '192.168.7.23' }] }
          : { items: [] },
      ),
    download: () => Promise.reject(new Error('not asked for')),
    close: async () => undefined,
  };
  const environment = { KR_MQTT_PASSWORD: 'hunter2-hunter2', KR_HTTP_PORT: '8480', HOME: '/root' };

  async function made(answer: string | null) {
    const folder = await mkdtemp(join(tmpdir(), 'kr-bundle-'));
    const out = join(folder, 'bundle.txt');
    const said: string[] = [];
    const person = {
      say: (line: string) => void said.push(line),
      ask: async () => answer,
      askSecret: async () => null,
    };
    const deps = { api, person, environment, findings: async () => [] };
    const told = await supportBundle(deps, { out }).catch((error: unknown) => String(error));
    const written = await readFile(out, 'utf8').catch(() => null);
    await rm(folder, { recursive: true });
    return { said: said.join('\n'), told, written };
  }

  it('is shown before it is written, and written as it was shown', async () => {
    const { said, written } = await made('yes');
    expect(said).toContain('KR_HTTP_PORT=8480');
    expect(said).toMatch(/KR_MQTT_PASSWORD="?<secret>/);
    expect(said).not.toMatch(/hunter2|pve-attic|castle|192\.168|HOME/);
    expect(written).toBe(`${said}\n`);
  });

  it('is written nowhere against the person, nor without one', async () => {
    expect(await made('no')).toMatchObject({ told: 'nothing was written', written: null });
    const alone = await made(null);
    expect(alone.written).toBeNull();
    expect(alone.told).toContain('--yes');
  });
});
