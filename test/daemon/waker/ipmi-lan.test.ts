/**
 * The IPMI waker with the real ipmitool against OpenIPMI's BMC simulator: real packets of RMCP+ on
 * the loopback, and a chassis whose power switch is a file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIpmiWaker } from '../../../daemon/waker/ipmi.ts';
import { fetchInto } from '../../support/debian.ts';
import { until } from '../../support/servers.ts';

let folder: string;
let bmc: ChildProcess;
let port: number;

const at = (name: string): string => join(folder, name);

async function program(name: string, text: string): Promise<string> {
  await writeFile(at(name), `#!/bin/sh\n${text}\n`);
  await chmod(at(name), 0o755);
  return at(name);
}

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port: free } = socket.address();
  socket.close();
  await once(socket, 'close');
  return free;
}

const chassis = (): string => `
printf '%s\\n' "$*" >> '${at('effects')}'
case "$2 $3" in
  'get power') echo "power:$(cat '${at('power')}')" ;;
  'set power') echo "$4" > '${at('power')}' ;;
esac`;

const lan = (): string => `
name "kr"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 ${port}
    priv_limit admin
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "${at('chassis')} 0x20"
  user 2 true "kr" "s3cret" admin 10 none md2 md5 straight
`;

const emulated = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
`;

beforeAll(async () => {
  const root = await fetchInto('ipmi', ['ipmitool', 'openipmi']);
  folder = await mkdtemp(join(tmpdir(), 'kr-ipmi-'));
  port = await freeUdpPort();
  const libraries = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
    .flatMap((arch) => [`${root}/usr/lib/${arch}`, `${root}/lib/${arch}`])
    .join(':');
  const found = `LD_LIBRARY_PATH='${libraries}' PATH='${root}/usr/bin':"$PATH" exec`;
  await program('ipmitool', `${found} ipmitool "$@"`);
  await program('ipmi_sim', `${found} ipmi_sim "$@"`);
  await program('chassis', chassis());
  await writeFile(at('lan.conf'), lan());
  await writeFile(at('bmc.emu'), emulated);
  await mkdir(at('state'));
  const options = ['-c', at('lan.conf'), '-f', at('bmc.emu'), '-s', at('state'), '-n'];
  bmc = spawn(at('ipmi_sim'), options, { stdio: 'ignore' });
}, 180_000);
afterAll(async () => {
  if (bmc.exitCode === null && bmc.kill('SIGKILL')) await once(bmc, 'exit');
  await rm(folder, { recursive: true, force: true });
});

async function wake(password: string): Promise<string> {
  await writeFile(at('password'), `${password}\n`, { mode: 0o600 });
  const settings = {
    kind: 'ipmi',
    host: '127.0.0.1',
    port,
    user: 'kr',
    passwordFile: at('password'),
    cipherSuite: 3,
    program: at('ipmitool'),
  } as const;
  const waker = createIpmiWaker(settings, undefined);
  const request = { node: 'big', macs: [], broadcasts: [] };
  return (await waker.wake(request, new AbortController().signal)).detail;
}

describe('a BMC', () => {
  it('switches its machine on, and leaves one that is on as it is', async () => {
    await writeFile(at('power'), '0\n');
    let detail = '';
    // The simulator opens its port some time after it was started.
    await until(async () => {
      detail = await wake('s3cret').catch(() => '');
      return detail !== '';
    });
    expect(detail).toBe('127.0.0.1: Chassis Power Control: Up/On');
    expect(await readFile(at('power'), 'utf8')).toBe('1\n');
    await wake('s3cret');
    expect(await readFile(at('power'), 'utf8')).toBe('1\n');
    const effects = (await readFile(at('effects'), 'utf8')).trim().split('\n');
    expect(effects.filter((line) => !line.endsWith('set power 1'))).toEqual([]);
  });

  it('does nothing for a wrong password', async () => {
    await writeFile(at('power'), '0\n');
    await expect(wake('wrong')).rejects.toMatchObject({
      code: 'KR_WAKE_REFUSED',
      message: expect.stringContaining('ipmitool ended with 1'),
    });
    expect(await readFile(at('power'), 'utf8')).toBe('0\n');
  });
});
