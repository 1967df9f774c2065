import { describe, expect, it } from 'vitest';
import {
  ClusterStatus,
  CurrentStatus,
  GuestList,
  isTaskOk,
  NodeStatus,
  Pending,
  Resources,
  TaskList,
  TaskStatus,
} from '../../../../daemon/hypervisor/proxmox/answers.ts';
import { parseUpsStatus } from '../../../../daemon/hypervisor/proxmox/gauged.ts';
import {
  cpuCountMax,
  guestFacts,
  hotplugOf,
} from '../../../../daemon/hypervisor/proxmox/guest-config.ts';
import {
  ClusterOptions,
  HaCurrent,
  haFacts,
  isInMaintenance,
  isOwnedByBalancer,
  ManagerStatus,
  serviceOf,
} from '../../../../daemon/hypervisor/proxmox/ha.ts';
import { MigrateCheck, obstacleTo } from '../../../../daemon/hypervisor/proxmox/migrate-check.ts';
import {
  ConfigAnswer,
  Members,
  parseConfig,
  VmList,
} from '../../../../daemon/hypervisor/proxmox/pmxcfs.ts';
import {
  parseCorosyncNodes,
  parsePvecmStatus,
  quorumFacts,
} from '../../../../daemon/hypervisor/proxmox/quorum.ts';
import { readJson, tagsOf } from '../../../../daemon/hypervisor/proxmox/scalars.ts';
import {
  endOf,
  parseActiveTasks,
  parseUpid,
  realTypesOf,
  upidIn,
} from '../../../../daemon/hypervisor/proxmox/tasks.ts';

describe('ups.status', () => {
  it.each([
    ['OL CHRG', false],
    ['OL OFF', false],
    ['OB DISCHRG', true],
    ['FSD OB LB', true],
    ['FSD', true],
    ['ALARM OB RB', true],
    ['BYPASS', null],
    ['', null],
  ])('reads %j as on battery: %j', (text, isOn) => {
    expect(parseUpsStatus(`${text}\n`)).toBe(isOn);
  });
});

describe('cluster/resources', () => {
  const guest = { type: 'qemu', vmid: 101, node: 'alpha', status: 'running', tags: 'web;prod' };

  it.each([
    ['a number', { ...guest, vmid: 101 }, '101'],
    ['a string', { ...guest, vmid: '101' }, '101'],
  ])('reads a vmid that is %s', (_, row, vmid) => {
    expect(Resources.parse([row]).guests[0]).toMatchObject({ vmid, tags: ['web', 'prod'] });
  });

  it('takes template 1 as true, a missing one as false and missing values as null', () => {
    const rows = [
      { ...guest, template: 1 },
      { ...guest, vmid: 102 },
    ];
    const { guests } = Resources.parse(rows);
    expect(guests.map(({ template }) => template)).toEqual([true, false]);
    expect(guests[1]).toMatchObject({ lock: null, hastate: null, uptime: null, name: null });
  });

  it('skips pools and networks, and reads storages with sizes as strings', () => {
    const { guests, storages, nodes } = Resources.parse([
      { type: 'pool', id: '/pool/lab', pool: 'lab' },
      { type: 'network', id: 'network/alpha/zone/x', status: 'ok' },
      { type: 'node', node: 'alpha', status: 'online', hastate: 'maintenance' },
      {
        type: 'storage',
        storage: 'tank',
        node: 'alpha',
        status: 'available',
        shared: 1,
        disk: '5',
        maxdisk: '10',
      },
    ]);
    expect(guests).toEqual([]);
    expect(nodes).toMatchObject([
      { type: 'node', node: 'alpha', status: 'online', hastate: 'maintenance' },
    ]);
    expect(storages[0]).toMatchObject({ shared: true, disk: 5, maxdisk: 10, plugintype: null });
  });

  it('refuses the whole answer when it does not understand a guest, instead of hiding it', () => {
    const answer = readJson(Resources, JSON.stringify([guest, { ...guest, vmid: 'x' }]));
    expect(answer.ok).toBe(false);
    expect(readJson(Resources, 'UPID:').ok).toBe(false);
  });
});

describe('cluster/status', () => {
  it('has no cluster on a single node, whose id is 0', () => {
    const row = { type: 'node', id: 'node/solo', name: 'solo', nodeid: 0, online: 1, local: 1 };
    expect(ClusterStatus.parse([row])).toMatchObject({
      cluster: null,
      nodes: [{ name: 'solo', nodeid: 0, online: true, local: true }],
    });
  });

  it('tells quorum by the cluster row, as a number or a string', () => {
    for (const quorate of [1, '1']) {
      const rows = [{ type: 'cluster', name: 'c', nodes: 2, quorate, version: 4 }];
      expect(ClusterStatus.parse(rows).cluster?.quorate).toBe(true);
    }
  });
});

describe('nodes and guests', () => {
  it('reads load averages and clock rates, which are strings', () => {
    const status = NodeStatus.parse({
      cpu: 0,
      pveversion: 'pve-manager/8.4.1/abc',
      uptime: 50,
      loadavg: ['0.01', '1.50', '0.00'],
      memory: { total: 1000, used: 300, free: 700 },
      cpuinfo: { cpus: 8, mhz: '800.000', hvm: '1', model: 'x' },
    });
    expect(status).toMatchObject({ loadavg: [0.01, 1.5, 0], cpuinfo: { mhz: 800 } });
  });

  it.each([
    ['numbers of a VM', { pressurecpusome: 12.5, pressureiosome: 0 }, [0.125, 0]],
    ['strings of a container', { pressurecpusome: '12.50', pressureiosome: '0.00' }, [0.125, 0]],
    ['nothing before PVE 9', {}, [null, null]],
  ])('reads pressure as %s', (_, pressure, [cpu, io]) => {
    const row = { vmid: '7', status: 'running', mem: '10', maxmem: 5, ...pressure };
    expect(GuestList.parse([row])[0]).toMatchObject({
      vmid: '7',
      mem: 10,
      pressurecpusome: cpu,
      pressureiosome: io,
    });
  });

  it('sees that a running VM is paused, and who manages it', () => {
    const answer = { vmid: '9', status: 'running', qmpstatus: 'paused', uptime: 4 };
    expect(CurrentStatus.parse(answer)).toMatchObject({
      vmid: '9',
      qmpstatus: 'paused',
      ha: { managed: false },
    });
    const managed = { ...answer, ha: { managed: 1, state: 'started' } };
    expect(CurrentStatus.parse(managed).ha).toEqual({ managed: true, state: 'started' });
  });

  it('reads pending changes with values of either type', () => {
    const rows = Pending.parse([
      { key: 'cores', value: 2, pending: '4' },
      { key: 'cpulimit', value: '1.5' },
      { key: 'hotplug', value: 'disk', delete: 1 },
    ]);
    expect(rows).toEqual([
      { key: 'cores', value: '2', pending: '4', delete: false },
      { key: 'cpulimit', value: '1.5', pending: null, delete: false },
      { key: 'hotplug', value: 'disk', pending: null, delete: true },
    ]);
  });
});

describe('tasks', () => {
  const upid = 'UPID:alpha:0000790E:0010102A:6A6CD601:qmstart:211:automation@pve!token:';

  it('reads a UPID, whose user may hold a token name', () => {
    expect(parseUpid(upid)).toEqual({
      upid,
      node: 'alpha',
      startedAtSeconds: 0x6a6cd601,
      type: 'qmstart',
      id: '211',
      user: 'automation@pve!token',
    });
    expect(parseUpid('UPID:alpha:xx:')).toBeNull();
  });

  it('finds the answer of a tool below the log lines of its task', () => {
    expect(upidIn(`starting VM 211\nprogress 5%\n"${upid}"\n`)?.type).toBe('qmstart');
    expect(upidIn('nothing here')).toBeNull();
  });

  it('reads the list of latest tasks, running and ended', () => {
    const text = `${upid} 0\n${upid} 1 6A6CD612 OK\n${upid} 1 6A6CD612 got signal 15\nnoise\n`;
    expect(
      parseActiveTasks(text).map(({ isRunning, exitStatus }) => [isRunning, exitStatus]),
    ).toEqual([
      [true, null],
      [false, 'OK'],
      [false, 'got signal 15'],
    ]);
  });

  it.each([
    ['OK', true],
    ['WARNINGS: 2', true],
    ['migration aborted', false],
    [null, false],
  ])('takes the exit status %j as well ended: %s', (status, isOk) => {
    expect(isTaskOk(status)).toBe(isOk);
    const stopped = TaskStatus.parse({ upid, status: 'stopped', exitstatus: status });
    expect(endOf(stopped)?.isOk).toBe(isOk);
  });

  it('knows no end of a running task, and that HA tasks only queue', () => {
    expect(endOf(TaskStatus.parse({ upid, status: 'running' }))).toBeUndefined();
    expect(realTypesOf('hamigrate')).toEqual(['qmigrate', 'vzmigrate']);
    expect(realTypesOf('qmigrate')).toBeUndefined();
    expect(TaskList.parse([{ upid, type: 'qmstart', starttime: 5, id: '211' }])).toHaveLength(1);
  });
});

describe('migration preconditions', () => {
  const wish = { target: 'beta', withLocalDisks: false };
  const disk = { volid: 'lvm:vm-1-disk-0', size: 5, cdrom: 0, is_cloudinit: 0, shared: 0 };
  const vm = { running: 1, allowed_nodes: ['beta'], not_allowed_nodes: {}, local_resources: [] };
  const ct = { running: 0, 'allowed-nodes': ['beta'], 'not-allowed-nodes': {} };
  const cases: [string, object, object, string | null][] = [
    ['a VM', vm, {}, null],
    ['a container, whose keys have hyphens', ct, {}, null],
    ['a container without allowed nodes', { ...ct, 'allowed-nodes': [] }, {}, 'not among'],
    ['PVE 8, which lists none for a running VM', { running: 1, local_disks: [] }, {}, null],
    ['a VM on its only node', { ...vm, allowed_nodes: [] }, {}, 'not among'],
    [
      'a missing storage',
      { ...vm, not_allowed_nodes: { beta: { unavailable_storages: ['tank'] } } },
      {},
      'unavailable storages: ["tank"]',
    ],
    [
      'a container that HA keeps away',
      { ...ct, 'not-allowed-nodes': { beta: { 'blocking-ha-resources': [{ sid: 'vm:1' }] } } },
      {},
      'blocking ha resources',
    ],
    ['passthrough', { ...vm, local_resources: ['hostpci0'] }, {}, 'hostpci0'],
    ['a local disk', { ...vm, local_disks: [disk] }, {}, 'withLocalDisks'],
    ['a local disk to copy', { ...vm, local_disks: [disk] }, { withLocalDisks: true }, null],
    ['a shared disk', { ...vm, local_disks: [{ ...disk, shared: 1 }] }, {}, null],
    [
      'a cloud-init image, which is a CD',
      { ...vm, local_disks: [{ ...disk, cdrom: 1, is_cloudinit: 1 }] },
      {},
      null,
    ],
    [
      'a CD, even when disks are copied',
      { ...vm, local_disks: [{ ...disk, cdrom: 1 }] },
      { withLocalDisks: true },
      'eject',
    ],
  ];
  it.each(cases)('judge %s', (_, answer, change, why) => {
    const obstacle = obstacleTo(MigrateCheck.parse(answer), { ...wish, ...change });
    expect(obstacle ?? 'may go').toContain(why ?? 'may go');
  });
});

describe('high availability', () => {
  const quiet = {
    manager_status: { master_node: 'a', node_status: { a: 'online', b: 'online' } },
    lrm_status: { a: { mode: 'active', state: 'active' } },
    quorum: { node: 'a', quorate: '1' },
  };
  it.each([
    ['nowhere', {}, false],
    ['the node status', { manager_status: { node_status: { b: 'maintenance' } } }, true],
    ['the request', { manager_status: { node_request: { b: { maintenance: 1 } } } }, true],
    ['the mode of the local manager', { lrm_status: { b: { mode: 'maintenance' } } }, true],
  ])('finds maintenance in %s', (_, change, expected) => {
    expect(isInMaintenance(ManagerStatus.parse({ ...quiet, ...change }), 'b')).toBe(expected);
  });

  it('understands a manager that never wrote anything', () => {
    expect(isInMaintenance(ManagerStatus.parse({}), 'b')).toBe(false);
  });

  const rows = [
    { type: 'quorum', node: 'a', quorate: 1, id: 'quorum' },
    { type: 'lrm', node: 'a', status: 'a (idle)' },
    { type: 'service', sid: 'vm:100', node: 'A', state: 'started', 'auto-rebalance': 0 },
    { type: 'service', sid: 'ct:101', node: 'A', state: 'started' },
  ];
  it.each([
    ['an object', { crs: { 'ha-auto-rebalance': 1, ha: 'static' } }, '101', true],
    ['text', { crs: 'ha=static,ha-auto-rebalance=1' }, '101', true],
    ['an object, guest opted out', { crs: { 'ha-auto-rebalance': 1 } }, '100', false],
    ['text that turns it off', { crs: 'ha-auto-rebalance=0' }, '101', false],
    ['nothing', {}, '101', false],
    ['text, guest not under HA', { crs: 'ha-auto-rebalance=1' }, '102', false],
  ])('tells who balances by options as %s', (_, options, vmid, expected) => {
    const service = serviceOf(HaCurrent.parse(rows), vmid);
    expect(isOwnedByBalancer(ClusterOptions.parse(options), service)).toBe(expected);
  });

  it('refuses a service that it does not understand, instead of hiding it', () => {
    expect(HaCurrent.safeParse([{ type: 'service', sid: 'vm:100' }]).success).toBe(false);
  });

  it('names services by sid, with our spelling of the node', () => {
    const facts = haFacts(
      {
        manager: ManagerStatus.parse(quiet),
        services: HaCurrent.parse(rows),
        options: ClusterOptions.parse({ ha: 'shutdown_policy=migrate' }),
      },
      'a',
      (name) => name.toLowerCase(),
    );
    expect(facts).toMatchObject({ managed: true, mode: 'active', shutdownPolicy: 'migrate' });
    expect(facts.services).toContainEqual({ sid: 'ct:101', state: 'started', node: 'a' });
  });
});

describe('pvecm status', () => {
  const text = (votes: string, table: string, quorate = 'Yes') => `Cluster information
-------------------
Name:             test
Quorum information
------------------
Nodes:            2
Quorate:          ${quorate}

Votequorum information
----------------------
${votes}

Membership information
----------------------
    Nodeid      Votes    Qdevice Name
${table}
`;
  const votes =
    'Expected votes:   3\nHighest expected: 3\nTotal votes:      3\nQuorum:           2';
  const configured = parseCorosyncNodes(`nodelist {
  node {
    name: Alpha
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 10.0.0.1
  }
  node {
    name: beta
    nodeid: 2
    quorum_votes: 2
  }
}`);
  const facts = (status: string) => {
    const parsed = parsePvecmStatus(status);
    return parsed && quorumFacts(parsed, configured, (name) => name.toLowerCase());
  };

  it('reads votes without a quorum device, and who is away', () => {
    expect(facts(text(votes, '0x00000001          1 10.0.0.1 (local)'))).toEqual({
      quorate: true,
      expectedVotes: 3,
      totalVotes: 3,
      quorumVotes: 2,
      members: [
        { node: 'alpha', votes: 1, online: true },
        { node: 'beta', votes: 2, online: false },
      ],
      qdevice: null,
    });
  });

  it.each([
    ['A,V,NMW', 1, true, true],
    ['A,NV,NMW', 1, true, false],
    ['NA,V,MW', 0, false, true],
    ['NR', 0, false, false],
  ])('reads the flags %s of a quorum device', (flags, deviceVotes, alive, voting) => {
    const table = `0x00000001          1   ${flags} 10.0.0.1 (local)
0x00000002          2    A,V,NMW 10.0.0.2
0x00000000          ${deviceVotes}            Qdevice`;
    expect(facts(text(`${votes}\nFlags:            Quorate Qdevice`, table))?.qdevice).toEqual({
      votes: deviceVotes,
      alive,
      voting,
      seenAgeMs: 0,
    });
  });

  it('reads a cluster without quorum, whose line says more than a number', () => {
    const blocked = votes.replace('Quorum:           2', 'Quorum:           2 Activity blocked');
    const status = facts(text(blocked, '0x00000002          2 10.0.0.2 (local)', 'No'));
    expect(status).toMatchObject({ quorate: false, quorumVotes: 2 });
  });

  it.each([
    [
      'the error of a single node',
      "Error: Corosync config '/etc/pve/corosync.conf' does not exist",
    ],
    ['nothing', ''],
    ['a status cut before its table', text(votes, '').split('Membership')[0] ?? ''],
    ['votes without a number', text(votes.replace('3\nHighest', 'x\nHighest'), '1 1 a (local)')],
  ])('knows no votes from %s', (_, status) => {
    expect(parsePvecmStatus(status)).toBeNull();
  });
});

describe('the files of pmxcfs', () => {
  it('list members, or none on a single node', () => {
    const members = Members.parse({
      nodename: 'alpha',
      version: 4,
      cluster: { name: 'c', version: 2, nodes: 2, quorate: 1 },
      nodelist: { alpha: { id: 1, online: 1, ip: '10.0.0.1' }, beta: { id: 2, online: 0 } },
    });
    expect(members.nodes).toEqual([
      { name: 'alpha', isOnline: true },
      { name: 'beta', isOnline: false },
    ]);
    expect(Members.parse({ nodename: 'solo', version: 1 })).toEqual({
      nodeName: 'solo',
      isQuorate: null,
      nodes: null,
    });
  });

  it('list guests by id, and refuse a type they do not know', () => {
    const guest = { node: 'alpha', type: 'lxc', version: 3 };
    expect(VmList.parse({ version: 5, ids: { 101: guest } }).get('101')).toEqual(guest);
    expect(VmList.safeParse({ ids: { 101: { ...guest, type: 'openvz' } } }).success).toBe(false);
  });

  it('hold a configuration above its pending and snapshot sections', () => {
    const config = parseConfig('#note: no\ncores: 2\nname: web\n[PENDING]\ncores: 4\n[snap]\n');
    expect([...config]).toEqual([
      ['cores', '2'],
      ['name', 'web'],
    ]);
    expect([...ConfigAnswer.parse({ cores: 2, memory: '2048' })]).toEqual([
      ['cores', '2'],
      ['memory', '2048'],
    ]);
  });
});

describe('guest configuration', () => {
  const context = {
    isShared: (storage: string) => storage === 'nfs',
    haState: null,
    isOwnedByBalancer: false,
  };
  const facts = (type: 'qemu' | 'lxc', lines: string) =>
    guestFacts({ vmid: '100', type, config: parseConfig(lines) }, context);

  it.each([
    ['text', 'memory: 2048', 2048],
    ['a property since PVE 8.1', 'memory: current=4096', 4096],
    ['nothing', '', 512],
  ])('reads memory as %s', (_, line, mebibytes) => {
    expect(facts('qemu', line).memoryMaxBytes).toBe(mebibytes * 2 ** 20);
  });

  it('knows a guest by its cards and its board', () => {
    const lines = [
      'net0: virtio=BC:24:11:AA:00:01,bridge=vmbr0,firewall=1',
      'net1: e1000=BC:24:11:AA:00:02,bridge=vmbr1',
      'smbios1: uuid=3F2504E0-4F89-41D3-9A0C-0305E82C3301',
    ];
    expect(facts('qemu', lines.join('\n'))).toMatchObject({
      macs: ['bc:24:11:aa:00:01', 'bc:24:11:aa:00:02'],
      systemUuid: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
    });
    const card = 'net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:AA:00:03,ip=dhcp,type=veth';
    expect(facts('lxc', card)).toMatchObject({ macs: ['bc:24:11:aa:00:03'], systemUuid: null });
  });

  it.each([
    ['sockets times cores', 'qemu', 'sockets: 2\ncores: 4', 8],
    ['vcpus below them', 'qemu', 'sockets: 2\ncores: 4\nvcpus: 3', 3],
    ['one by default', 'qemu', '', 1],
    ['a container with cores', 'lxc', 'cores: 2', 2],
    ['a container without', 'lxc', '', null],
  ] as const)('counts cpus: %s', (_, type, lines, count) => {
    expect(facts(type, lines).cpuCount).toBe(count);
  });

  it.each([
    ['default', '', ['network', 'disk', 'usb']],
    ['1', 'hotplug: 1', ['network', 'disk', 'usb']],
    ['0', 'hotplug: 0', []],
    ['memory without NUMA', 'hotplug: cpu,memory', ['cpu']],
    ['memory with NUMA', 'hotplug: cpu,memory\nnuma: 1', ['cpu', 'memory']],
  ])('knows what a VM can plug while it runs: %s', (_, lines, expected) => {
    expect(hotplugOf(parseConfig(lines), 'qemu')).toEqual(expected);
    expect(hotplugOf(parseConfig(lines), 'lxc')).toEqual(['cpu', 'memory']);
  });

  it('lists disks with size and sharing, and leaves out CDs', () => {
    const { disks, localResources, cpuType } = facts(
      'qemu',
      'scsi0: lvm:vm-100-disk-0,size=32G\nvirtio1: nfs:100/a.qcow2,size=1.5T\n' +
        'ide2: lvm:iso/x.iso,media=cdrom\nide0: lvm:vm-100-cloudinit,media=cdrom\n' +
        'sata1: none,media=cdrom\nusb0: spice\nserial0: socket\nhostpci0: 0000:01:00\ncpu: host,flags=+aes',
    );
    expect(disks).toEqual([
      { volume: 'lvm:vm-100-disk-0', storage: 'lvm', sizeBytes: 32 * 2 ** 30, shared: false },
      { volume: 'nfs:100/a.qcow2', storage: 'nfs', sizeBytes: 1.5 * 2 ** 40, shared: true },
    ]);
    expect(localResources).toEqual(['hostpci0', 'ide2']);
    expect(cpuType).toBe('host');
    expect(cpuCountMax(parseConfig('cores: 3'))).toBe(3);
  });

  it.each([
    ['', 'kvm64'],
    ['cpu: flags=+aes', 'kvm64'],
    ['arch: x86_64', 'kvm64'],
    ['arch: aarch64', null],
    ['arch: aarch64\ncpu: host', 'host'],
  ])('takes the cpu type that QEMU emulates where none is configured: %j', (lines, expected) => {
    expect(facts('qemu', lines).cpuType).toBe(expected);
  });

  it('binds a container by a folder of its host unless that is shared', () => {
    const lines = 'rootfs: nfs:100/r.raw,size=8G\nmp0: /srv,mp=/srv\nmp1: /nas,mp=/n,shared=1';
    const { localResources, mayRestart, disks } = facts('lxc', `${lines}\ntags: a;kr_restart`);
    expect(localResources).toEqual(['mp0']);
    expect(disks?.map(({ shared }) => shared)).toEqual([true, false, true]);
    expect(mayRestart).toBe(true);
    expect(facts('lxc', lines).mayRestart).toBe(false);
  });

  it.each([
    ['a;b', ['a', 'b']],
    ['a, b', ['a', 'b']],
    [undefined, []],
  ])('splits the tags %j', (text, tags) => {
    expect(tagsOf(text)).toEqual(tags);
  });
});
