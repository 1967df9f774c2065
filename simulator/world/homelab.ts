/**
 * The homelab of `npm run demo`: five mixed machines in the cluster `home`, and in `attic` a mini
 * PC that is always on beside a big server that should sleep, and `rack`, three equal hosts of
 * Proxmox VE. The small machine that serves films
 * gets too hot every evening, so that there is something to relieve.
 */
import { seedOfName } from '../prng.ts';
import { buildWorld, gibibyte, macOf, type WorldSpec } from './build.ts';
import type { LoadShape } from './load.ts';
import type { GuestSpec, NodeSpec, World } from './model.ts';

type Machine = {
  node: string;
  cpuModel: string;
  /** Logical cpus, GiB of memory, single-thread factor. */
  size: readonly [cpus: number, memory: number, factor: number];
  watts: readonly [idle: number, loaded: number];
  bootMs: number;
  roles?: readonly string[];
};

const home: readonly Machine[] = [
  {
    node: 'nuc1',
    cpuModel: 'Intel N100',
    size: [4, 16, 0.65],
    watts: [7, 25],
    bootMs: 62_000,
    roles: ['dns'],
  },
  { node: 'nuc2', cpuModel: 'Intel N305', size: [8, 32, 0.7], watts: [10, 45], bootMs: 65_000 },
  {
    node: 'ryzen',
    cpuModel: 'AMD Ryzen 7 5700G',
    size: [16, 64, 1],
    watts: [25, 95],
    bootMs: 75_000,
  },
  {
    node: 'tower',
    cpuModel: 'Intel i7-10700',
    size: [16, 64, 0.9],
    watts: [40, 160],
    bootMs: 90_000,
  },
  {
    node: 'xeon',
    cpuModel: 'Intel Xeon E5-2680 v4',
    size: [28, 128, 0.6],
    watts: [90, 260],
    bootMs: 170_000,
  },
];
const attic: readonly Machine[] = [
  { node: 'mini', cpuModel: 'Intel N100', size: [4, 16, 0.65], watts: [6, 24], bootMs: 60_000 },
  {
    node: 'big',
    cpuModel: 'AMD EPYC 7302P',
    size: [32, 256, 0.9],
    watts: [110, 300],
    bootMs: 180_000,
  },
];

const rack: readonly Machine[] = ['pve1', 'pve2', 'pve3'].map((node) => ({
  node,
  cpuModel: 'Intel i5-9500T',
  size: [6, 32, 0.85],
  watts: [12, 55],
  bootMs: 70_000,
}));

/** name, kind, cpus, GiB of memory, shape, load at rest, swing. */
type Service = readonly [
  name: string,
  kind: 'vm' | 'ct',
  cpus: number,
  memory: number,
  shape: LoadShape,
  base: number,
  swing: number,
];

const services: Record<string, readonly Service[]> = {
  'home/nuc1': [
    ['pihole', 'ct', 1, 0.5, 'constant', 0.04, 0.02],
    ['home-assistant', 'vm', 2, 4, 'walk', 0.1, 0.1],
    ['frigate', 'ct', 4, 4, 'constant', 0.35, 0.1],
    ['jellyfin', 'ct', 4, 4, 'diurnal', 0.03, 0.65],
  ],
  'home/nuc2': [
    ['nginx-proxy', 'ct', 1, 0.5, 'diurnal', 0.03, 0.1],
    ['vaultwarden', 'ct', 1, 0.5, 'constant', 0.02, 0.02],
    ['mosquitto', 'ct', 1, 0.5, 'constant', 0.03, 0.03],
    ['zigbee2mqtt', 'ct', 1, 0.5, 'constant', 0.05, 0.03],
    ['unifi', 'vm', 2, 3, 'walk', 0.08, 0.1],
  ],
  'home/ryzen': [
    ['nextcloud', 'vm', 4, 8, 'diurnal', 0.05, 0.35],
    ['immich', 'vm', 4, 8, 'spike', 0.06, 0.7],
    ['paperless', 'ct', 2, 2, 'spike', 0.04, 0.6],
    ['gitea', 'ct', 2, 2, 'weekly', 0.03, 0.2],
    ['gitea-runner', 'vm', 4, 6, 'spike', 0.02, 0.9],
    ['adguard', 'ct', 1, 0.5, 'diurnal', 0.03, 0.05],
  ],
  'home/tower': [
    ['truenas', 'vm', 4, 16, 'walk', 0.1, 0.2],
    ['syncthing', 'ct', 2, 1, 'walk', 0.05, 0.1],
    ['sonarr', 'ct', 1, 1, 'spike', 0.03, 0.4],
    ['radarr', 'ct', 1, 1, 'spike', 0.03, 0.4],
    ['audiobookshelf', 'ct', 1, 1, 'diurnal', 0.02, 0.1],
  ],
  'home/xeon': [
    ['minecraft', 'vm', 4, 8, 'diurnal', 0.05, 0.5],
    ['windows-11', 'vm', 8, 16, 'weekly', 0.04, 0.25],
    ['grafana', 'ct', 2, 2, 'constant', 0.05, 0.05],
    ['k3s', 'vm', 8, 16, 'walk', 0.1, 0.15],
  ],
  'rack/pve1': [
    ['router', 'vm', 2, 2, 'walk', 0.08, 0.1],
    ['git-mirror', 'ct', 2, 2, 'spike', 0.03, 0.4],
  ],
  'rack/pve2': [
    ['mail', 'vm', 2, 4, 'diurnal', 0.05, 0.2],
    ['wiki', 'ct', 2, 2, 'diurnal', 0.03, 0.15],
  ],
  'rack/pve3': [
    ['build', 'vm', 4, 8, 'spike', 0.03, 0.7],
    ['metrics', 'vm', 2, 4, 'constant', 0.08, 0.05],
  ],
  'attic/mini': [
    ['wireguard', 'ct', 1, 0.5, 'diurnal', 0.02, 0.1],
    ['uptime-kuma', 'ct', 1, 0.5, 'constant', 0.04, 0.02],
    ['homepage', 'ct', 1, 0.5, 'constant', 0.01, 0.01],
  ],
  'attic/big': [
    ['proxmox-backup', 'vm', 4, 8, 'spike', 0.03, 0.6],
    ['ollama', 'vm', 16, 64, 'spike', 0.01, 0.8],
    ['photo-archive', 'vm', 4, 16, 'weekly', 0.02, 0.1],
  ],
};

const subnets: Readonly<Record<string, string>> = {
  home: '192.168.10',
  attic: '192.168.20',
  rack: '192.168.30',
};

function nodeSpec(cluster: string, machine: Machine, index: number): NodeSpec {
  const [cpuCount, memory, singleThreadFactor] = machine.size;
  const [wattsIdle, wattsLoaded] = machine.watts;
  const subnet = subnets[cluster] ?? '192.168.0';
  return {
    cluster,
    node: machine.node,
    rack: cluster,
    cpuModel: machine.cpuModel,
    cpuCount,
    singleThreadFactor,
    memoryBytes: memory * gibibyte,
    diskBytes: 2 ** 41,
    wattsIdle,
    wattsLoaded,
    votes: cluster === 'attic' ? 0 : 1,
    mac: macOf(0x10_00_00 + index),
    address: `${subnet}.${index + 10}`,
    broadcast: `${subnet}.255`,
    bootMs: machine.bootMs,
    // Gigabit Ethernet, as at home.
    migrationBytesPerSecond: 1.1e8,
    roles: machine.roles ?? [],
  };
}

function guestSpec(seed: number, place: string, service: Service, id: number): GuestSpec {
  const [cluster = '', node = ''] = place.split('/');
  const [name, kind, cpuCount, memory, shape, base, swing] = service;
  return {
    cluster,
    id: String(id),
    name,
    kind: kind === 'vm' ? 'vm' : 'container',
    node,
    cpuCount,
    memoryBytes: memory * gibibyte,
    diskBytes: 32 * gibibyte,
    load: { shape, seed: seedOfName(seed, name), base, swing },
    tags: ['home'],
    running: true,
  };
}

export function buildHomelab(
  spec: Pick<WorldSpec, 'seed' | 'startMs' | 'timeScale' | 'startHour'>,
): World {
  const machines = [
    ...home.map((machine) => ({ cluster: 'home', machine })),
    ...attic.map((machine) => ({ cluster: 'attic', machine })),
    ...rack.map((machine) => ({ cluster: 'rack', machine })),
  ];
  let id = 99;
  return buildWorld({
    ...spec,
    nodes: machines.map(({ cluster, machine }, index) => nodeSpec(cluster, machine, index)),
    guests: Object.entries(services).flatMap(([place, all]) =>
      all.map((service) => guestSpec(spec.seed, place, service, (id += 1))),
    ),
  });
}
