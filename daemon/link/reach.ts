/**
 * Looks for a host that is said to be off, as a witness in its own network: knocks at its ports for
 * half a minute, and then asks the kernel whether anybody still answers for its address (ARP).
 * Invariant: silence counts only where it means something, on a link that carries and on which
 * somebody else answered just then; a witness that hears nobody has lost its own cable. It sends
 * nothing but connection requests, and those only into networks this host belongs to.
 */
import { connect } from 'node:net';
import type { Clock } from '../../broker/contract/ports.ts';
import type { Observation } from '../hypervisor/port.ts';
import type { Files } from '../sample/files.ts';
import { isWithin, type Link } from '../sample/links.ts';

export type Reach = (addresses: readonly string[]) => Promise<Observation>;

/** Whether anything at this address answered, be it by a refusal. */
export type Knock = (address: string, port: number) => Promise<boolean>;

export type ReachOptions = {
  links: () => Promise<readonly Link[] | null>;
  files: Files;
  clock: Clock;
  knock?: Knock;
};

/** The web interface of Proxmox VE, and SSH. */
const ports = [8006, 22];
const knockMaxMs = 1_000;
/** Ten rounds of three seconds: the kernel needs eight to give up on a neighbour it knew. */
const rounds = 10;
const roundMs = 3_000;
const controlsMax = 4;

export const knockBy =
  (clock: Clock): Knock =>
  (address, port) =>
    new Promise((resolve) => {
      const socket = connect({ host: address, port });
      const end = (hasAnswered: boolean) => () => {
        cancel();
        socket.destroy();
        resolve(hasAnswered);
      };
      const cancel = clock.after(knockMaxMs, end(false));
      socket.once('connect', end(true));
      socket.once('error', (error: NodeJS.ErrnoException) =>
        end(error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET')(),
      );
    });

type Neighbour = { address: string; isComplete: boolean; device: string };

/** `192.168.7.11  0x1  0x2  02:00:00:00:00:0b  *  vmbr0`; flag 2: it answers for its address. */
export function parseNeighbours(text: string): Neighbour[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [address, , flags, mac, , device] = line.trim().split(/\s+/);
      if (!address || !flags || !mac || !device) return [];
      const isComplete = (Number(flags) & 2) !== 0 && mac !== '00:00:00:00:00:00';
      return [{ address, isComplete, device }];
    });
}

const unseen = (detail: string): Observation => ({ postcondition: null, detail });

export function createReach(options: ReachOptions): Reach {
  const { links, files, clock } = options;
  const knockAt = options.knock ?? knockBy(clock);
  const pause = (ms: number) =>
    new Promise<void>((resolve) => void clock.after(ms, () => resolve()));

  async function neighbours(): Promise<Neighbour[] | null> {
    const text = await files.text('proc/net/arp');
    return text === null ? null : parseNeighbours(text);
  }

  const answers = async (address: string): Promise<boolean> =>
    (await Promise.all(ports.map((port) => knockAt(address, port)))).includes(true);

  /** Some others of the same network: they show that this host hears anybody at all. */
  async function controlsOf(link: Link, sought: readonly string[]): Promise<string[]> {
    const known = (await neighbours()) ?? [];
    return known
      .filter(({ address }) => isWithin(link.address, address) && !sought.includes(address))
      .map(({ address }) => address)
      .slice(0, controlsMax);
  }

  async function nearOf(addresses: readonly string[]) {
    for (const link of (await links()) ?? []) {
      const own = link.address?.split('/')[0];
      const near = addresses.filter((one) => one !== own && isWithin(link.address, one));
      if (near.length > 0) return { link, near };
    }
    return null;
  }

  return async (addresses) => {
    const found = await nearOf(addresses);
    if (!found) return unseen('no link of this witness is in its network');
    const { link, near } = found;
    const controls = await controlsOf(link, addresses);
    for (let round = 0; round < rounds; round += 1) {
      const heard = await Promise.all(near.map(answers));
      const at = heard.indexOf(true);
      if (at >= 0) return unseen(`${near[at]} still answers`);
      // Not for their answers: the kernel asks anew who has these addresses.
      await Promise.all(controls.map(answers));
      await pause(roundMs);
    }
    const table = await neighbours();
    if (table === null) return unseen('the neighbours of this witness cannot be read');
    const isThere = (address: string) =>
      table.some((row) => row.address === address && row.isComplete);
    const there = near.find(isThere);
    if (there) return unseen(`a network card still answers for ${there}`);
    const carries = (await files.line(`sys/class/net/${link.name}/carrier`)) === '1';
    if (!carries || !controls.some(isThere)) {
      return unseen('this witness hears nobody else in that network, so its silence means nothing');
    }
    const seconds = (rounds * roundMs) / 1_000;
    const detail = `${near.join(', ')}: no port and no network card answered for ${seconds} s`;
    return { postcondition: true, detail };
  };
}
