/**
 * What a person asks for when a guest is made, and the command that it becomes. Pure: the numbers
 * are those of the form, the names those of the driver.
 */
import type { NodeDetail } from '../../../../http/views.ts';
import type { z } from 'zod';
import { gibibyte } from '../../parts/quota.tsx';

type Host = Pick<z.infer<typeof NodeDetail>, 'cluster' | 'id' | 'driver' | 'capabilities'>;

/** Texts as they stand in the form. */
export type Wish = {
  name: string;
  image: string;
  kind: 'container' | 'vm';
  cpuCount: string;
  memoryGibibytes: string;
  diskGibibytes: string;
  isStarted: boolean;
};

export const firstWish: Wish = {
  name: '',
  image: '',
  kind: 'container',
  cpuCount: '1',
  memoryGibibytes: '1',
  diskGibibytes: '',
  isStarted: true,
};

/** LXD has a rule of its own; elsewhere whatever a guest id may hold. */
export const namePattern = ({ driver }: Pick<Host, 'driver'>): string =>
  driver === 'lxd'
    ? String.raw`[A-Za-z]([A-Za-z0-9\-]{0,61}[A-Za-z0-9])?`
    : String.raw`[A-Za-z0-9][A-Za-z0-9_.:\-]{0,127}`;

/**
 * The id that the name becomes: an LXD that is no cluster (it can migrate nothing) puts its own
 * name before, since two hosts may both have a `web`.
 */
export const guestIdOf = ({ id, driver, capabilities }: Host, name: string): string =>
  driver === 'lxd' && !capabilities.includes('guest.migrate') ? `${id}.${name}` : name;

const positive = (text: string): number | null => {
  const value = Number(text);
  return text.trim() !== '' && Number.isFinite(value) && value > 0 ? value : null;
};
const bytesOf = (text: string): number | null => {
  const value = positive(text);
  return value === null ? null : Math.round(value * gibibyte);
};

/** What it takes of a quota; null where the form says no number. */
export const amountOf = ({ cpuCount, memoryGibibytes }: Wish) => ({
  cpuCount: positive(cpuCount),
  memoryBytes: bytesOf(memoryGibibytes),
});

/** null while something is missing or wrong; the form itself says what. */
export function commandOf(host: Host, wish: Wish): { guest: string; body: object } | null {
  const { name, image, kind, diskGibibytes, isStarted } = wish;
  const { cpuCount, memoryBytes } = amountOf(wish);
  const isNamed = new RegExp(`^(?:${namePattern(host)})$`).test(name);
  const diskBytes = bytesOf(diskGibibytes);
  const isDiskWrong = diskGibibytes.trim() !== '' && diskBytes === null;
  if (!isNamed || image.trim() === '' || isDiskWrong) return null;
  if (cpuCount === null || !Number.isInteger(cpuCount) || memoryBytes === null) return null;
  const guest = guestIdOf(host, name);
  const args = {
    image: image.trim(),
    kind,
    cpuCount,
    memoryBytes,
    start: isStarted,
    ...(diskBytes === null ? {} : { diskBytes }),
  };
  const { cluster, id: node } = host;
  return { guest, body: { cluster, node, kind: 'guest.create', guest, args } };
}
