/**
 * The figures of a replay as an SVG: energy against how often hosts could not serve what was asked,
 * one dot per result, and the energy that no policy can undercut where that is known. The axis of
 * the violation is logarithmic; a result without any stands at its foot. Text in, text out.
 */
import type { PhysicalResult } from './physical-run.ts';
import type { Result } from './run.ts';

type Drawn = Result & Partial<Pick<PhysicalResult, 'days' | 'boundKwh'>>;

const colours: Record<string, string> = {
  kernreaktor: '#d1495b',
  p0: '#2a7f9e',
  'lr-mmt': '#777777',
  'thr-mmt': '#9a9a55',
  'iqr-mmt': '#8a6d9b',
  'mad-mmt': '#6b8e6b',
  'always-on': '#333333',
};

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const [width, height, margin] = [760, 480, 60];

type Scale = { x: (kwh: number) => number; y: (power: number) => number };

function gridOf(powers: readonly number[], { y }: Scale): string[] {
  return powers.map(
    (power) =>
      `<line x1="${margin}" x2="${width - margin}" y1="${y(power)}" y2="${y(power)}" ` +
      `stroke="#ddd"/><text x="${margin - 8}" y="${y(power) + 4}" text-anchor="end">1e${power}</text>`,
  );
}

const boundOf = (kwh: number, { x }: Scale): string =>
  `<line x1="${x(kwh).toFixed(1)}" x2="${x(kwh).toFixed(1)}" y1="${margin}" ` +
  `y2="${height - margin}" stroke="#999" stroke-dasharray="4 3">` +
  `<title>no policy below ${kwh.toFixed(1)} kWh</title></line>`;

/** By which figure results are judged: SLAV, and OTF where machines boot. */
const violationOf = ({ days, otf, slav }: Drawn): number => (days === undefined ? slav : otf);

export function plot(results: readonly Drawn[]): string {
  const isPhysical = results.some(({ days }) => days !== undefined);
  const perDay = (kwh: number, { days = 1 }: Drawn): number => kwh / days;
  const energies = results.map((one) => perDay(one.energyKwh, one));
  const powers = results.map(violationOf).filter((one) => one > 0);
  const logs = powers.map(Math.log10);
  const [low, high] = [Math.min(...energies, 0), Math.max(...energies, 1) * 1.05];
  const [bottom, top] = [Math.floor(Math.min(...logs, 0)), Math.ceil(Math.max(...logs, -9))];
  const scale: Scale = {
    x: (kwh) => margin + ((kwh - low) / (high - low)) * (width - 2 * margin),
    y: (power) =>
      height - margin - ((power - bottom) / Math.max(1, top - bottom)) * (height - 2 * margin),
  };
  const dots = results.map((result, at) => {
    const colour = colours[result.policy] ?? '#000';
    const kwh = energies[at]!;
    const violation = violationOf(result);
    const power = violation > 0 ? Math.log10(violation) : bottom;
    const label = `${result.policy} ${result.day} ${result.order}: ${kwh.toFixed(1)} kWh`;
    return (
      `<circle cx="${scale.x(kwh).toFixed(1)}" cy="${scale.y(power).toFixed(1)}" ` +
      `r="5" fill="${colour}"><title>${escaped(label)}</title></circle>`
    );
  });
  const bounds = results.flatMap((one) =>
    one.boundKwh === undefined ? [] : [perDay(one.boundKwh, one)],
  );
  const names = [...new Set(results.map(({ policy }) => policy))].map(
    (name, place) =>
      `<text x="${width - margin - 90}" y="${margin + 18 * place}" ` +
      `fill="${colours[name] ?? '#000'}">${escaped(name)}</text>`,
  );
  const steps = Array.from({ length: top - bottom + 1 }, (_, step) => bottom + step);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
      `font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...gridOf(steps, scale),
    ...[...new Set(bounds)].map((kwh) => boundOf(kwh, scale)),
    `<text x="${width / 2}" y="${height - 15}" text-anchor="middle">kWh per day</text>`,
    `<text x="15" y="${margin - 25}">${isPhysical ? 'OTF' : 'SLAV'}</text>`,
    ...dots,
    ...names,
    '</svg>',
    '',
  ].join('\n');
}
