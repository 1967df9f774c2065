import { appendFile, chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pinnedBelow } from '../../support/pins.ts';
import { createScriptRunner } from '../../../daemon/command/script-trust.ts';
import { memoryHypervisor } from '../../../daemon/hypervisor/memory.ts';
import { createProxmoxApiHypervisor } from '../../../daemon/hypervisor/proxmox-api/driver.ts';
import { createProxmoxHypervisor } from '../../../daemon/hypervisor/proxmox/driver.ts';
import { createScriptHypervisor } from '../../../daemon/hypervisor/script.ts';
import { createSampler } from '../../../daemon/sample/sampler.ts';
import { liveWorld } from '../../../simulator/live-world.ts';
import { buildFleetWorld } from '../../../simulator/world/build.ts';
import { realClock } from '../../broker/wire.ts';
import { apiOf, proxmoxRig } from '../../simulator/proxmox/rig.ts';
import { memoryLog } from '../../support/log.ts';
import { trustedFolder } from '../../support/trusted-folder.ts';
import { hypervisorContract } from './contract.ts';

hypervisorContract('the twin', async () => {
  const world = buildFleetWorld({
    seed: 42,
    startMs: realClock.wallMs(),
    timeScale: 200,
    nodes: 2,
    nodesPerCluster: 2,
    guestsPerNode: 2,
    clusterPrefix: 'sim',
  });
  const live = liveWorld(world, realClock);
  const port = live.cluster('sim-001');
  return {
    driver: memoryHypervisor({ world: port, nodes: ['n0001'], clock: realClock }),
    node: 'n0001',
    running: '101',
    stopped: '100',
    begun: async () =>
      world.log.filter(({ effect, outcome }) => effect === 'start' && outcome === null).length,
    close: async () => live.stop(),
  };
});

const examples = new URL('../../../docs/examples/script/', import.meta.url);

hypervisorContract('the programs of an administrator', async () => {
  const folder = await trustedFolder();
  const programs = join(folder, 'programs');
  const begun = join(folder, 'begun');
  await cp(examples, programs, { recursive: true });
  await writeFile(begun, '');
  await writeFile(join(programs, 'state-folder'), join(folder, 'state'));
  for (const [id, state] of [
    ['web', 'running'],
    ['db', 'stopped'],
  ] as const) {
    await mkdir(join(folder, 'state', id), { recursive: true });
    await writeFile(join(folder, 'state', id, 'state'), `${state}\n`);
    await writeFile(join(folder, 'state', id, 'cpu_count'), '2\n');
    await writeFile(join(folder, 'state', id, 'memory_bytes'), '1073741824\n');
  }
  // Each program notes what it has done, after the guest was found and changed.
  for (const name of ['start', 'stop']) {
    const path = join(programs, name);
    await appendFile(path, `echo ${name} >> '${begun}'\n`);
    await chmod(path, 0o755);
  }
  const actions = {
    'guest.start': join(programs, 'start'),
    'guest.stop': join(programs, 'stop'),
  };
  const config = {
    guests: join(programs, 'guests'),
    actions,
    queryTimeoutMs: 10_000,
    stopWithinMs: 5_000,
  };
  const sampler = createSampler({ clock: realClock, addresses: () => ({}), root: folder });
  const scripts = createScriptRunner({
    folder: join(folder, 'run'),
    readPolicy: pinnedBelow(folder),
  });
  const outputFolder = join(folder, 'output');
  const own = { node: 'pve1', config, sampler, scripts, outputFolder, daemonVersion: '1' };
  return {
    driver: createScriptHypervisor({ ...own, clock: realClock, log: memoryLog() }),
    node: 'pve1',
    running: 'web',
    stopped: 'db',
    begun: async () => (await readFile(begun, 'utf8')).split('\n').length - 1,
    close: () => rm(folder, { recursive: true, force: true }),
  };
});

/** The contract knows one running and one stopped guest. */
async function smallRig() {
  const rig = await proxmoxRig();
  rig.live.change((world) => {
    const spare = world.guests.get('lab/101');
    const beta = world.nodes.get('lab/beta');
    if (!spare || !beta) throw new Error('the rig lacks its guest or node');
    spare.node.guests = spare.node.guests.filter((guest) => guest !== spare);
    spare.node = beta;
    beta.guests.push(spare);
  });
  rig.pve.onChange();
  return rig;
}

hypervisorContract('the host driver of Proxmox VE, with fake tools', async () => {
  const rig = await smallRig();
  const { alpha: tree } = rig.trees;
  const { alpha: tools } = rig.tools;
  if (!tools || !tree) throw new Error('the rig lacks its tools');
  const { root } = tree;
  const sampler = createSampler({ clock: realClock, addresses: () => ({}), root });
  const outputFolder = join(rig.folder, 'output');
  const mine = { node: 'alpha', sampler, daemonVersion: '1', tools, simulated: true, root };
  const own = { ...mine, outputFolder };
  return {
    driver: createProxmoxHypervisor({ ...own, clock: realClock, log: memoryLog() }),
    node: 'alpha',
    running: '100',
    stopped: '102',
    begun: async () => (await rig.effects()).length,
    close: () => rig.close(),
  };
});

hypervisorContract('the API driver of Proxmox VE, with a fake API', async () => {
  const rig = await smallRig();
  const { api, endpoint } = await apiOf(rig);
  const own = { nodes: ['alpha', 'beta', 'gamma'], endpoint, daemonVersion: '1', simulated: true };
  return {
    driver: createProxmoxApiHypervisor({ ...own, clock: realClock, log: memoryLog() }),
    node: 'alpha',
    running: '100',
    stopped: '102',
    begun: async () => (await rig.effects()).length,
    async close() {
      await api.close();
      await rig.close();
    },
  };
});
