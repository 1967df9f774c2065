/** What is packaged: a daemon for a host, and a server. Names, folders, units and descriptions. */

export const architectures = {
  amd64: { cpu: 'x64', tarball: 'linux-x64' },
  arm64: { cpu: 'arm64', tarball: 'linux-arm64' },
} as const;
export type Architecture = keyof typeof architectures;

export type Product = {
  name: string;
  /** The file that its units start. */
  entry: string;
  /** Files beside the sources that the program reads, or folders of them. */
  assets: readonly string[];
  units: readonly string[];
  /** Its name on PATH. */
  command: string;
  /** Flags of Node under which the command on PATH runs; the units name their own. */
  nodeFlags: readonly string[];
  /** What the unit runs with, which the command then finds by itself. */
  service?: { dataDir: string; settings: string };
  /** Copied to the package's folder of documents. */
  documents: readonly string[];
  summary: string;
  description: readonly string[];
  licence: 'MIT' | 'GPL-2.0';
};

export const products = {
  daemon: {
    name: 'kernreaktor-daemon',
    entry: 'daemon/process/main.ts',
    assets: [],
    units: ['kernreaktor-agent', 'kernreaktor-executor', 'kernreaktor-daemon'],
    command: 'kernreaktor-daemon',
    nodeFlags: ['--max-semi-space-size=1', '--v8-pool-size=1', '--no-opt', '--no-maglev'],
    documents: ['docs/install.md', 'docs/script-hypervisor.md', 'docs/wakers.md'],
    summary: "Kernreaktor daemon: watches this host and acts on it at a server's signed word",
    description: [
      'Publishes load and guest statistics of a virtualisation host, and starts,',
      'stops, moves and scales guests or puts the host to sleep when a Kernreaktor',
      'server asks for it, at most once per command. Brings its own Node.',
    ],
    licence: 'GPL-2.0',
  },
  server: {
    name: 'kernreaktor-server',
    entry: 'kernreaktor.ts',
    assets: ['backend/panel/dist', 'backend/http/common-passwords.txt', 'simulator/proxmox'],
    units: ['kernreaktor-server'],
    command: 'kernreaktor',
    nodeFlags: ['--max-semi-space-size=16', '--heap-growing-percent=50'],
    service: {
      dataDir: '/var/lib/kernreaktor-server',
      settings: '/etc/kernreaktor-server/server.env',
    },
    documents: ['docs/install.md', 'docs/configuration.md', 'docs/proxmox.md'],
    summary: 'Kernreaktor server: broker, backend and API for clusters of hosts',
    description: [
      'Folds what the daemons of virtualisation hosts publish into one picture,',
      'decides, explains every decision and sends signed commands. Broker and',
      'stores are built in; MariaDB, InfluxDB 2 and an MQTT broker of your own can',
      'take their place. Brings its own Node.',
    ],
    // It holds a daemon for its own host, and with it node-wol.
    licence: 'GPL-2.0',
  },
} as const satisfies Record<string, Product>;

export type ProductName = keyof typeof products;
