import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type DaemonProcess,
  type House,
  openHouse,
  untilHeard,
} from '../../../support/proxmox-house.ts';
import { until } from '../../../support/servers.ts';
import { type Stack, startStack } from '../../../support/stack.ts';

type Command = {
  id: string;
  state: string;
  stateReason: string | null;
  history: { state: string; reason?: string }[];
};

/** As far as it is on disk. */
function journalOf(daemon: DaemonProcess | undefined): string {
  const folder = join(daemon?.dataDir ?? '', 'journal');
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'latin1'))
    .join('');
}

let stack: Stack | undefined;
let house: House | undefined;
afterEach(async () => {
  await house?.close();
  await stack?.remove();
  [house, stack] = [undefined, undefined];
});

async function open(options: Parameters<typeof openHouse>[0]) {
  const server = (stack = await startStack({}, { hasFixedPorts: true }));
  const home = (house = await openHouse(options));
  const { api } = server;
  await home.startDaemons({
    mqttUrl: server.runtime().mqttUrl,
    post: async (path, body) => api.post(path, body),
  });
  await untilHeard(home, (method, path) => api.send(method, path));
  const command = (id: string): Promise<Command> => api.get(`commands/${id}`);
  /** Once the guards know enough of a house that has just begun; the last refusal is told. */
  const submit = async (wish: object): Promise<string> => {
    let last = '';
    let id = '';
    await until(
      async () => {
        const answer = await api.post<Command>('commands', { cluster: 'pve-1', args: {}, ...wish });
        if (answer.status !== 202) throw new Error(JSON.stringify(answer.body));
        const { state, stateReason } = await command(answer.body.id);
        last = stateReason ?? '';
        id = answer.body.id;
        return state !== 'REJECTED';
      },
      { withinMs: 60_000 },
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${last}`);
    });
    return id;
  };
  const outcome = async (id: string): Promise<Command> => {
    const open = new Set(['PLANNED', 'QUEUED', 'OFFERED', 'GRANTED', 'RUNNING', 'VERIFYING']);
    await until(async () => !open.has((await command(id)).state), { withinMs: 120_000 });
    return command(id);
  };
  return { home, api, command, submit, outcome };
}

describe('the production executor with the Proxmox driver, as processes', () => {
  it('joins the task of a killed daemon again, and the effect began once', async () => {
    const { home, submit, command, outcome } = await open({ timeScale: 1, nodesPerCluster: 3 });
    const guest = { node: 'n1', guest: '100' };
    const migrate = { kind: 'guest.migrate', ...guest, args: { targetNode: 'n2' } };
    const daemon = home.daemons.get('pve-1/n1');
    let id = await submit(migrate);
    await until(
      async () => {
        // The guards look again before the grant, and may know too little by then.
        if ((await command(id)).state === 'REJECTED') id = await submit(migrate);
        return journalOf(daemon).includes(':qmigrate:100:');
      },
      { withinMs: 60_000, what: 'the name of the task in the journal' },
    );
    await daemon?.kill9();
    expect(home.live.world.guests.get('pve-1/100')?.node.spec.node).toBe('n1');
    daemon?.start();
    expect(await outcome(id)).toMatchObject({
      state: 'SUCCEEDED',
      stateReason: 'qmigrate: OK; guest 100 is running on n2',
    });
    expect(daemon?.log()).toContain('command taken up again after a restart');
    expect(home.effects().map(({ kind }) => kind)).toEqual(['qmigrate']);
    expect(home.live.world.guests.get('pve-1/100')?.node.spec.node).toBe('n2');
  }, 180_000);

  it('sleeps a node through HA maintenance, and the woken daemon takes it back by its journal', async () => {
    const { home, submit, outcome } = await open({
      timeScale: 60,
      nodesPerCluster: 5,
      guestsPerNode: 2,
    });
    const [fake] = home.clusters;
    if (!fake) throw new Error('the house is empty');
    fake.pve.ha.set('100', { autoRebalance: null });
    home.live.change((world) => {
      for (const guest of world.guests.values()) {
        if (guest.node.spec.node === 'n3') guest.state = 'stopped';
      }
    });
    fake.pve.onChange();
    const powerOf = () => home.live.world.nodes.get('pve-1/n3')?.power;
    const off = await submit({ kind: 'node.shutdown', node: 'n3' });
    await until(() => powerOf() === 'off', { withinMs: 60_000, what: 'power-off' });
    expect(fake.pve.maintenance.has('n3')).toBe(true);
    expect(await outcome(off)).toMatchObject({ state: 'SUCCEEDED' });
    const wake = await submit({ kind: 'node.wake', node: 'n3' });
    expect(await outcome(wake)).toMatchObject({ state: 'SUCCEEDED' });
    await until(() => !fake.pve.maintenance.has('n3'), { withinMs: 30_000, what: 'its end' });
    expect(home.effects().map(({ kind, id }) => `${kind} ${id}`)).toEqual([
      'maintenance-enable n3',
      'shutdown n3',
      'wakeonlan n3',
      'maintenance-disable n3',
    ]);
  }, 180_000);
});
