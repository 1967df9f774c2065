import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureTls, type TlsFiles } from '../../../broker/tls.ts';
import { createRedfishWaker } from '../../../daemon/waker/redfish.ts';
import { WakersByNode } from '../../../daemon/waker/settings.ts';
import { realClock } from '../../broker/wire.ts';

/** A BMC as DSP0266 describes it: ids by link, the action's target by the resource itself. */
type Bmc = {
  systems: Record<string, { PowerState: string; allowed?: string[] | null; target?: string }>;
  /** What came, credentials included. */
  heard: { method: string; path: string; authorization: string; body: string }[];
  /** Answers that path by this status and header instead. */
  broken: Record<string, { status: number; location?: string; text?: string }>;
};

let folder: string;
let tls: TlsFiles;
let server: Server;
let bmc: Bmc;
const authorization = `Basic ${Buffer.from('kr:s3cret').toString('base64')}`;
const root = '/redfish/v1/Systems';

function json(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(value));
}

async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = '';
  for await (const chunk of incoming) body += String(chunk);
  const { method = '', url: path = '', headers } = incoming;
  bmc.heard.push({ method, path, authorization: headers.authorization ?? '', body });
  const broken = bmc.broken[path];
  if (broken) {
    const { status, location, text = '' } = broken;
    response.writeHead(status, location === undefined ? {} : { location });
    response.end(text);
    return;
  }
  if (headers.authorization !== authorization) {
    return json(response, 401, { error: { code: 'Base.1.0.NoValidSession' } });
  }
  if (method === 'GET' && path === root) {
    const Members = Object.keys(bmc.systems).map((id) => ({ '@odata.id': `${root}/${id}` }));
    return json(response, 200, { Members, 'Members@odata.count': Members.length });
  }
  const [, id = '', action] = /^\/redfish\/v1\/Systems\/([^/]+)(\/Actions\/.*)?$/.exec(path) ?? [];
  const system = bmc.systems[id];
  if (!system) return json(response, 404, { error: { code: 'Base.1.0.ResourceMissingAtURI' } });
  const { PowerState, allowed, target } = system;
  const resetPath = `${root}/${id}/Actions/ComputerSystem.Reset`;
  if (method === 'GET' && action === undefined) {
    const values = allowed === null ? {} : { 'ResetType@Redfish.AllowableValues': allowed };
    const reset = { target: target ?? resetPath, ...values };
    return json(response, 200, { Id: id, PowerState, Actions: { '#ComputerSystem.Reset': reset } });
  }
  const { ResetType } = JSON.parse(body) as { ResetType?: string };
  if (method !== 'POST' || path !== resetPath || !(allowed ?? ['On']).includes(ResetType ?? '')) {
    return json(response, 400, { error: { code: 'Base.1.0.ActionParameterNotSupported' } });
  }
  system.PowerState = 'On';
  response.writeHead(204).end();
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-redfish-'));
  tls = await ensureTls({ folder, names: ['127.0.0.1'], nowMs: realClock.wallMs() });
  bmc = {
    systems: { '1': { PowerState: 'Off', allowed: ['On', 'ForceOff'] } },
    heard: [],
    broken: {},
  };
  server = createServer({ cert: tls.cert, key: tls.key }, (incoming, response) => {
    void answer(incoming, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

const fingerprint = (): string => new X509Certificate(tls.cert).fingerprint256;

async function wake(over: object = {}, password = 's3cret\n'): Promise<string> {
  const passwordFile = join(folder, 'password');
  await writeFile(passwordFile, password);
  await chmod(passwordFile, 0o600);
  const { port } = server.address() as AddressInfo;
  const own = { kind: 'redfish', url: `https://127.0.0.1:${port}`, user: 'kr', passwordFile };
  const parsed = WakersByNode.parse({ big: [{ ...own, fingerprint: fingerprint(), ...over }] });
  const [way] = parsed['big'] ?? [];
  if (way?.kind !== 'redfish') throw new Error('no redfish');
  const waker = createRedfishWaker(way, undefined);
  const request = { node: 'big', macs: [], broadcasts: [] };
  return (await waker.wake(request, new AbortController().signal)).detail;
}

const asked = (): string[] => bmc.heard.map(({ method, path }) => `${method} ${path}`);

describe('redfish', () => {
  it('finds the only system and switches it on by the target that it names', async () => {
    expect(await wake()).toContain('/redfish/v1/Systems/1: On');
    expect(bmc.systems['1']?.PowerState).toBe('On');
    expect(asked()).toEqual([
      `GET ${root}`,
      `GET ${root}/1`,
      `POST ${root}/1/Actions/ComputerSystem.Reset`,
    ]);
    expect(bmc.heard[2]?.body).toBe('{"ResetType":"On"}');
  });

  it('leaves a machine alone that is on already', async () => {
    bmc.systems = { '1': { PowerState: 'On' } };
    expect(await wake()).toContain('is on already');
    expect(asked().some((line) => line.startsWith('POST'))).toBe(false);
  });

  it('takes ForceOn where On is not offered, On where nothing is said, and nothing else', async () => {
    bmc.systems = { '1': { PowerState: 'Off', allowed: ['ForceOn', 'ForceOff'] } };
    expect(await wake()).toContain(': ForceOn');
    bmc.systems = { '1': { PowerState: 'Off', allowed: null } };
    expect(await wake()).toContain(': On');
    bmc.systems = { '1': { PowerState: 'Off', allowed: ['ForceOff', 'PushPowerButton'] } };
    await expect(wake()).rejects.toThrow('allows only ForceOff, PushPowerButton');
  });

  it('asks which of many systems is meant', async () => {
    bmc.systems = { blade1: { PowerState: 'Off' }, blade2: { PowerState: 'Off' } };
    await expect(wake()).rejects.toThrow('serves 2 systems: set system to one of blade1, blade2');
    expect(await wake({ system: 'blade2' })).toContain('blade2: On');
    expect(bmc.systems['blade1']?.PowerState).toBe('Off');
  });

  it('tells a wrong password from a refusal and from an answer that is none', async () => {
    await expect(wake({}, 'wrong')).rejects.toMatchObject({
      code: 'KR_WAKE_REFUSED',
      message: expect.stringContaining('401 for /redfish/v1/Systems: user, password'),
    });
    const reset = `${root}/1/Actions/ComputerSystem.Reset`;
    bmc.broken = { [reset]: { status: 503, text: 'busy' } };
    await expect(wake()).rejects.toThrow(`503 for ${reset}: busy`);
    bmc.broken = { [root]: { status: 200, text: '<html>' } };
    await expect(wake()).rejects.toThrow('/redfish/v1/Systems is no JSON');
    bmc.broken = { [`${root}/1`]: { status: 200, text: '{"PowerState":"Off"}' } };
    await expect(wake()).rejects.toThrow('/redfish/v1/Systems/1: Actions');
  });
});

describe('the password', () => {
  it('is not sent to a BMC whose certificate is another than the pinned one', async () => {
    const other = 'ab'.repeat(32);
    const waking = wake({ fingerprint: other });
    await expect(waking).rejects.toMatchObject({
      code: 'KR_WAKE_SEND',
      message: expect.stringContaining(`fingerprint ${fingerprint()}, another is pinned`),
    });
    expect(bmc.heard).toEqual([]);
  });

  it('is sent where the CA of the administrator vouches, and nowhere without', async () => {
    const caFile = join(folder, 'bmc-ca.pem');
    await writeFile(caFile, tls.ca);
    expect(await wake({ fingerprint: undefined, caFile })).toContain(': On');
    const before = bmc.heard.length;
    await expect(wake({ fingerprint: undefined })).rejects.toMatchObject({ code: 'KR_WAKE_SEND' });
    expect(bmc.heard).toHaveLength(before);
  });

  it('follows neither a redirect nor a link that leads away from the BMC', async () => {
    bmc.broken = { [root]: { status: 302, location: 'https://127.0.0.1:1/redfish/v1/Systems' } };
    await expect(wake()).rejects.toThrow('302 for /redfish/v1/Systems');
    bmc.broken = {};
    for (const target of ['https://evil.example/redfish/v1/x', '//evil.example/x', '/other']) {
      bmc.systems = { '1': { PowerState: 'Off', target } };
      await expect(wake()).rejects.toThrow('#ComputerSystem.Reset.target');
    }
    expect(asked().some((line) => line.startsWith('POST'))).toBe(false);
  });

  it('is not in any error', async () => {
    const errors = await Promise.allSettled([
      wake({}, 'hunter2'),
      wake({ url: 'https://127.0.0.1:1' }, 'hunter2'),
    ]);
    expect(errors.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const text = errors.map((one) => (one.status === 'rejected' ? inspect(one.reason) : '')).join();
    expect(text).toContain('ECONNREFUSED');
    expect(text).not.toContain('hunter2');
    expect(text).not.toContain(Buffer.from('kr:hunter2').toString('base64'));
  });
});
