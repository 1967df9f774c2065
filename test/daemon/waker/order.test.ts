import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDaemonClient } from '../../../broker/client.ts';
import { pinnedBelow } from '../../support/pins.ts';
import { createScriptRunner } from '../../../daemon/command/script-trust.ts';
import { createWakers } from '../../../daemon/waker/order.ts';
import { wakersFor } from '../../../daemon/waker/port.ts';
import { WakersByNode } from '../../../daemon/waker/settings.ts';
import { realClock } from '../../broker/wire.ts';
import { idsOf, seededRandom } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { trustedFolder } from '../../support/trusted-folder.ts';

let folder: string;
beforeEach(async () => {
  folder = await trustedFolder();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const signal = () => new AbortController().signal;
const request = (node: string) => ({ node, macs: [], broadcasts: [], commandId: 'c1' });

async function file(name: string, text: string, mode: number): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

function wakersOf(byNode: object) {
  const random = seededRandom(1);
  return createWakers(WakersByNode.parse(byNode), {
    clock: realClock,
    random,
    newId: idsOf(realClock, random),
    log: memoryLog(),
    openClient: openDaemonClient,
    links: async () => [],
    scripts: createScriptRunner({
      folder: join(folder, 'run'),
      readPolicy: pinnedBelow(folder),
    }),
  });
}

const waker = (byNode: object, node: string, name?: 'ipmi' | 'script') => {
  const [first] = wakersFor(wakersOf(byNode), node, name);
  if (!first) throw new Error('no waker');
  return first;
};

describe('the order of wakers', () => {
  const bmc = { kind: 'ipmi', host: '10.0.0.5', user: 'kr', passwordFile: '/x' };
  const byNode = { pve1: [bmc, { kind: 'wol' }], pve2: [{ kind: 'script', program: '/y' }] };
  const names = (node: string, name?: string) =>
    wakersFor(wakersOf(byNode), node, name).map((one) => one.name);

  it('is that of the list of each node, and Wake on LAN for nodes without a list', () => {
    expect(names('pve1')).toEqual(['ipmi', 'wol']);
    expect(names('pve2')).toEqual(['script']);
    expect(names('pve3')).toEqual(['wol']);
  });

  it('has only the one that a command names, or none', () => {
    expect(names('pve1', 'wol')).toEqual(['wol']);
    expect(names('pve2', 'wol')).toEqual([]);
    expect(names('pve3', 'ipmi')).toEqual([]);
  });
});

describe('ipmi', () => {
  /** Speaks as ipmitool(1) does; what it saw stands beside it. */
  const ipmitool = `#!/bin/sh
here=$(dirname "$0")
for a in "$@"; do printf '%s\\n' "$a"; done > "$here/seen"
[ "$*" != "\${*#*-f $here/password }" ] && [ "$(cat "$here/password")" = "s3cret \\$x" ] || { echo 'Error: Unable to establish IPMI v2 / RMCP+ session' >&2; exit 1; }
echo 'Chassis Power Control: Up/On'
`;
  const secret = 's3cret $x';
  const way = async (text = ipmitool, password = `${secret}\n`) => ({
    kind: 'ipmi',
    host: '10.0.0.5',
    user: 'kr',
    passwordFile: await file('password', password, 0o600),
    program: await file('ipmitool', text, 0o755),
  });

  it('says power on, and leaves the password in its file', async () => {
    const ipmi = waker({ pve1: [{ ...(await way()), cipherSuite: 3 }] }, 'pve1');
    expect(await ipmi.wake(request('pve1'), signal())).toEqual({
      packets: 1,
      detail: '10.0.0.5: Chassis Power Control: Up/On',
    });
    const seen = (await readFile(join(folder, 'seen'), 'utf8')).trim().split('\n');
    expect(seen.join(' ')).toBe(
      '-I lanplus -H 10.0.0.5 -p 623 -U kr -C 3 -f PASSWORD chassis power on'.replace(
        'PASSWORD',
        join(folder, 'password'),
      ),
    );
  });

  it('tells what ipmitool said when the BMC refused, without the password', async () => {
    const ipmi = waker({ pve1: [await way(ipmitool, 'wrong-password')] }, 'pve1');
    const error = await ipmi.wake(request('pve1'), signal()).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'KR_WAKE_REFUSED' });
    expect(String(error)).toContain('ipmitool ended with 1: Error: Unable to establish');
    expect(String(error)).not.toContain('wrong-password');
  });

  it('tells that ipmitool is not installed, and that a password may be read by others', async () => {
    const asked = await way();
    const missing = waker({ pve1: [{ ...asked, program: join(folder, 'none') }] }, 'pve1');
    await expect(missing.wake(request('pve1'), signal())).rejects.toThrow(/install .*none/);
    await chmod(asked.passwordFile, 0o640);
    const open = waker({ pve1: [asked] }, 'pve1').wake(request('pve1'), signal());
    await expect(open).rejects.toMatchObject({
      code: 'KR_WAKE_SECRET',
      message: expect.stringContaining(`chmod 600 ${asked.passwordFile}`),
    });
  });

  it('stops when the command is called off', async () => {
    const slow = waker({ pve1: [await way('#!/bin/sh\nexec sleep 60\n')] }, 'pve1');
    const stop = new AbortController();
    const waking = slow.wake(request('pve1'), stop.signal);
    stop.abort();
    await expect(waking).rejects.toMatchObject({ code: 'KR_WAKE_SEND' });
  });
});

describe('script', () => {
  const program = (text: string, mode = 0o755) => file('wake', `#!/bin/sh\n${text}\n`, mode);
  const asked = { node: 'pve1', macs: ['aa:bb:cc:dd:ee:ff'], broadcasts: ['10.0.0.255'] };

  it('learns which node to wake and answers what it printed', async () => {
    const text = 'echo "$KR_KIND $KR_NODE $KR_MACS $KR_BROADCASTS $KR_COMMAND_ID"';
    const script = waker({ pve1: [{ kind: 'script', program: await program(text) }] }, 'pve1');
    const { detail } = await script.wake({ ...asked, commandId: 'c7' }, signal());
    expect(detail).toBe(`${folder}/wake: node.wake pve1 aa:bb:cc:dd:ee:ff 10.0.0.255 c7`);
  });

  it.each([
    ['fails', 'echo "relay is gone" >&2; exit 3', 0o755, 'ended with 3: relay is gone'],
    ['takes too long', 'exec sleep 60', 0o755, 'took longer than 300 ms'],
    ['can be changed by others', 'exit 0', 0o777, 'chmod go-w'],
  ])('sends nothing when it %s', async (_, text, mode, why) => {
    const way = { kind: 'script', program: await program(text, mode), timeoutMs: 300 };
    const waking = waker({ pve1: [way] }, 'pve1').wake(asked, signal());
    await expect(waking).rejects.toThrow(why);
  });
});
