/**
 * Temperature and power as the kernel shows them. Where the sensors are is looked up rarely
 * (`find...`), what they say is read at every sample. No permission, no sensor: null.
 */
import type { Files } from './files.ts';
import { parseNumber } from './parse.ts';
import type { Counters } from './rates.ts';

/** Kernel drivers that measure the processor itself. */
const cpuSensor =
  /^(coretemp|k8temp|k10temp|zenpower|cpu_thermal|cpu[-_]?\d|soc_thermal|via_cputemp)/;
/** Sensors of parts that run hot by design and say nothing of cpu or board. */
const otherPart = /^(nvme|drivetemp|amdgpu|nouveau|radeon|i915|xe|iwlwifi|mlx|mt7|ath|bnxt|i350)/;
const cpuZone = /^(x86_pkg_temp|cpu|soc|TCPU)/i;
/** Unconnected inputs of board chips read as -128, -55 or 127 degrees. */
const [plausibleMin, plausibleMax] = [-40, 125];

export type TemperatureSensors = { cpu: string[]; board: string[] };

export async function findTemperatures(files: Files): Promise<TemperatureSensors> {
  const found: TemperatureSensors = { cpu: [], board: [] };
  for (const chip of (await files.names('sys/class/hwmon')) ?? []) {
    const folder = `sys/class/hwmon/${chip}`;
    const name = (await files.line(`${folder}/name`)) ?? '';
    if (otherPart.test(name)) continue;
    const inputs = ((await files.names(folder)) ?? []).filter((file) =>
      /^temp\d+_input$/.test(file),
    );
    const list = cpuSensor.test(name) ? found.cpu : found.board;
    list.push(...inputs.map((input) => `${folder}/${input}`));
  }
  for (const zone of (await files.names('sys/class/thermal')) ?? []) {
    if (!zone.startsWith('thermal_zone')) continue;
    const type = (await files.line(`sys/class/thermal/${zone}/type`)) ?? '';
    if (otherPart.test(type)) continue;
    (cpuZone.test(type) ? found.cpu : found.board).push(`sys/class/thermal/${zone}/temp`);
  }
  return found;
}

/** The hottest of these inputs in degrees Celsius; the files hold thousandths. */
async function hottest(files: Files, inputs: readonly string[]): Promise<number | null> {
  let celsius: number | null = null;
  for (const input of inputs) {
    const value = parseNumber(await files.text(input));
    if (value === null || value / 1000 <= plausibleMin || value / 1000 >= plausibleMax) continue;
    celsius = Math.max(celsius ?? -Infinity, value / 1000);
  }
  return celsius;
}

/** Board sensors speak only where no cpu sensor does: their unused inputs are noise. */
export const readTemperature = async (
  files: Files,
  sensors: TemperatureSensors,
): Promise<number | null> =>
  (await hottest(files, sensors.cpu)) ?? (await hottest(files, sensors.board));

export type EnergyZone = { path: string; wrapsAfter: number };

/**
 * RAPL zones that add up to the processor packages and their memory. Sub-zones of a package are
 * part of it except `dram`; the mmio copies show the same package twice.
 */
export async function findEnergyZones(files: Files): Promise<EnergyZone[]> {
  const zones: EnergyZone[] = [];
  for (const zone of (await files.names('sys/class/powercap')) ?? []) {
    if (!/^intel-rapl:\d+(:\d+)?$/.test(zone)) continue;
    const path = `sys/class/powercap/${zone}`;
    const name = (await files.line(`${path}/name`)) ?? '';
    const wrapsAfter = parseNumber(await files.text(`${path}/max_energy_range_uj`));
    const isCounted = name.startsWith('package-') || name === 'dram';
    if (isCounted && wrapsAfter !== null) zones.push({ path: `${path}/energy_uj`, wrapsAfter });
  }
  return zones;
}

/** Microjoules so far per zone; null when none may be read (only root may, on most systems). */
export async function readEnergy(
  files: Files,
  zones: readonly EnergyZone[],
): Promise<Counters | null> {
  const counters = new Map<string, { value: number; wrapsAfter: number }>();
  for (const { path, wrapsAfter } of zones) {
    const value = parseNumber(await files.text(path));
    if (value !== null) counters.set(path, { value, wrapsAfter });
  }
  return counters.size > 0 ? counters : null;
}
