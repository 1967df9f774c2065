/** Small traces made from a seed, in every layout that the replay reads. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { between, seededRandom } from '../../../simulator/prng.ts';
import { planetlabGuests } from '../../../simulator/replay/specs.ts';
import type { Trace } from '../../../simulator/replay/trace.ts';

export const steps = 288;

/** Percents that wander, pause at zero and jump, like the recorded ones. */
export function wander(guests: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const cpu = new Uint8Array(guests * steps);
  for (let guest = 0; guest < guests; guest += 1) {
    let level = between(random, 0, 40);
    for (let step = 0; step < steps; step += 1) {
      if (random.ratio() < 0.05) level = between(random, 0, 90);
      level = Math.min(100, Math.max(0, level + between(random, -6, 6)));
      cpu[guest * steps + step] = random.ratio() < 0.02 ? 0 : level;
    }
  }
  return cpu;
}

export function tinyTrace(guests: number, seed: number): Trace {
  return {
    name: '20110101',
    guestNames: Array.from({ length: guests }, (_, guest) => nameOf(guest)),
    guestCount: guests,
    steps,
    stepSeconds: 300,
    cpu: wander(guests, seed),
    cpuScale: new Float64Array(guests).fill(100),
    ...planetlabGuests(guests),
    ramUsedMb: null,
  };
}

const nameOf = (guest: number): string => `host-${String(guest).padStart(3, '0')}`;

/** The source's layout: a folder per day, a text file per guest. */
export async function writeSource(folder: string, day: string, cpu: Uint8Array): Promise<void> {
  await mkdir(join(folder, day), { recursive: true });
  for (let guest = 0; guest * steps < cpu.length; guest += 1) {
    const lines = Array.from(cpu.subarray(guest * steps, (guest + 1) * steps)).join('\n');
    await writeFile(join(folder, day, nameOf(guest)), `${lines}\n`);
  }
}

export async function writeCompact(folder: string, day: string, cpu: Uint8Array): Promise<void> {
  const names = Array.from({ length: cpu.length / steps }, (_, guest) => nameOf(guest));
  await writeFile(join(folder, `${day}.u8.gz`), gzipSync(cpu));
  await writeFile(join(folder, `${day}.names.gz`), gzipSync(`${names.join('\n')}\n`));
}
