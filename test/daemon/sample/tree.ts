/** A /proc and /sys of our own in a temporary folder, as small as the sampler needs it. */
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export type Tree = {
  root: string;
  write(files: Readonly<Record<string, string>>): Promise<void>;
  link(path: string, target: string): Promise<void>;
  remove(path: string): Promise<void>;
  cleanUp(): Promise<void>;
};

export async function makeTree(): Promise<Tree> {
  const root = await mkdtemp(join(tmpdir(), 'kr-tree-'));
  const place = async (path: string): Promise<string> => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    return join(root, path);
  };
  return {
    root,
    async write(files) {
      for (const [path, text] of Object.entries(files)) await writeFile(await place(path), text);
    },
    link: async (path, target) => symlink(target, await place(path)),
    remove: (path) => unlink(join(root, path)),
    cleanUp: () => rm(root, { recursive: true, force: true }),
  };
}

/** A small server: two disks with a partition and a loop, a card in a bridge, two guests' taps. */
export const server: Readonly<Record<string, string>> = {
  'proc/stat':
    'cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25 0 0\n',
  'proc/meminfo': 'MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n',
  'proc/loadavg': '0.00 0.50 1.25 1/200 3456\n',
  'proc/uptime': '3600.50 7000.00\n',
  'proc/diskstats':
    '8 0 sda 1 0 100 0 1 0 200 0 0 0 0\n8 1 sda1 1 0 100 0 1 0 200 0 0 0 0\n' +
    '7 0 loop0 9 0 999 0 9 0 999 0 0 0 0\n259 0 nvme0n1 1 0 10 0 1 0 20 0 0 0 0\n',
  'proc/net/dev':
    'Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n' +
    '    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n' +
    '  eno1: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n' +
    ' vmbr0: 9000 1 0 0 0 0 0 0 9000 1 0 0 0 0 0 0\n',
  'proc/pressure/cpu': 'some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n',
  'proc/pressure/io':
    'some avg10=100.00 avg60=2.00 avg300=0 total=1\nfull avg10=0.00 avg60=1.00 avg300=0 total=1\n',
  'proc/self/mounts':
    'sysfs /sys sysfs rw 0 0\n/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /mnt/again ext4 rw 0 0\n' +
    '/dev/nvme0n1p1 /data\\040disk xfs rw 0 0\nnas:/x /nas nfs rw 0 0\n',
  'proc/cpuinfo':
    'vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) N100\nmicrocode\t: 0x17\n\nvendor_id : x\n',
  'proc/sys/kernel/osrelease': '6.8.12-4-pve\n',
  'proc/sys/kernel/random/boot_id': '0b3f6c1e-5b51-4b0c-9a1e-2f4d5a6b7c8d\n',
  'sys/block/sda/device/model': 'disk',
  'sys/block/nvme0n1/device/model': 'disk',
  'sys/block/loop0/size': '0',
  'sys/class/net/eno1/device/vendor': '0x8086',
  'sys/class/net/eno1/address': '0c:c4:7a:00:00:01\n',
  'sys/class/net/vmbr0/address': '0c:c4:7a:00:00:01\n',
  'sys/class/net/lo/address': '00:00:00:00:00:00\n',
  'sys/class/hwmon/hwmon0/name': 'coretemp\n',
  'sys/class/hwmon/hwmon0/temp1_input': '45000\n',
  'sys/class/hwmon/hwmon0/temp2_input': '51500\n',
  'sys/class/hwmon/hwmon1/name': 'nvme\n',
  'sys/class/hwmon/hwmon1/temp1_input': '79000\n',
  'sys/class/hwmon/hwmon2/name': 'nct6775\n',
  'sys/class/hwmon/hwmon2/temp1_input': '127000\n',
  'sys/class/powercap/intel-rapl:0/name': 'package-0\n',
  'sys/class/powercap/intel-rapl:0/max_energy_range_uj': '262143328850\n',
  'sys/class/powercap/intel-rapl:0/energy_uj': '262143328000\n',
  'sys/class/powercap/intel-rapl:0:0/name': 'core\n',
  'sys/class/powercap/intel-rapl:0:0/max_energy_range_uj': '262143328850\n',
  'sys/class/powercap/intel-rapl:0:0/energy_uj': '5\n',
  'sys/class/dmi/id/bios_version': 'F12\n',
  'sys/class/dmi/id/product_uuid': '4C4C4544-0051-4210-8057-C4C04F4A4D32\n',
};
