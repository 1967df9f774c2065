import { describe, expect, it } from 'vitest';
import { physicalBoundKwh } from '../../../simulator/replay/physical-bound.ts';
import {
  alwaysOn,
  obeying,
  type PhysicalResult,
  playPhysical,
} from '../../../simulator/replay/physical-run.ts';
import { physicalRules } from '../../../simulator/replay/physical-world.ts';
import { initialPlacement } from '../../../simulator/replay/placement.ts';
import { plot } from '../../../simulator/replay/plot.ts';
import { thr } from '../../../simulator/replay/reference/detectors.ts';
import { mmtPolicy } from '../../../simulator/replay/reference/mmt.ts';
import { comparison } from '../../../simulator/replay/report.ts';
import { planetlabHosts } from '../../../simulator/replay/specs.ts';
import { tinyTrace } from './tiny.ts';

/** Two policies over a day where machines boot. */
async function played(): Promise<PhysicalResult[]> {
  const trace = tinyTrace(24, 5);
  const hosts = planetlabHosts(12);
  const day = { trace, hosts, order: 'sorted', placement: initialPlacement(trace, hosts) };
  const boundKwh = physicalBoundKwh(trace, hosts, physicalRules.bootSeconds);
  const known = { boundKwh, settledBoundKwh: boundKwh, days: 1 };
  const ours = { ...obeying(mmtPolicy('thr-mmt', thr(0.8))), name: 'kernreaktor' };
  const results: PhysicalResult[] = [];
  for (const policy of [alwaysOn, ours]) {
    results.push({ ...(await playPhysical(day, policy, physicalRules, () => 0)), ...known });
  }
  return results;
}

const results = await played();

describe('the days of a trace', () => {
  it('add up to the whole of it', () => {
    for (const { daily, energyKwh, migrations } of results) {
      expect(daily).toHaveLength(1);
      expect(daily[0]?.energyKwh).toBeCloseTo(energyKwh, 9);
      expect(daily[0]?.migrations).toBe(migrations);
    }
  });

  it('are the pairs of the test where machines boot, five at least', () => {
    const month = results.map((one) => ({
      ...one,
      daily: [1, 2, 3, 4, 5].map((day) => ({
        energyKwh: one.energyKwh + day,
        otf: one.policy === 'kernreaktor' ? day / 1_000 : 0,
        migrations: one.migrations,
      })),
    }));
    // Five of five one way: 2 / 2^5.
    expect(comparison(month)).toEqual([
      'kernreaktor against always-on: energyKwh lower in 5 of 5, p = 0.063; ' +
        'otf lower in 0 of 5, p = 0.063; migrations lower in 0 of 5, p = 0.063',
    ]);
    expect(comparison(results)).toEqual([]);
  });
});

describe('the plot', () => {
  it('has a dot for each result and the bound, judged by overload where machines boot', () => {
    const svg = plot(results);
    expect(svg.match(/<circle /g)).toHaveLength(results.length);
    expect(svg).toContain(`no policy below ${results[0]!.boundKwh.toFixed(1)} kWh`);
    expect(svg).toContain('>OTF<');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
});
