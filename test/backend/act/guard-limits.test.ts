import { describe, expect, it } from 'vitest';
import { boundProblem, limitsOf, simulatedLimits } from '../../../backend/act/guard-limits.ts';

const row = (change: Partial<Parameters<typeof limitsOf>[0]> = {}) =>
  limitsOf({ simulated: 0, time_scale: 1, limits: '{}', settings: '{}', ...change });
const minute = 60_000;

describe('the limits of a cluster', () => {
  it('are those of the specification where nobody said otherwise', () => {
    expect(row()).toMatchObject({
      spareVoters: 1,
      minUptimeMs: 30 * minute,
      powerOffEveryMs: 10 * minute,
      powerOffRatioPerHour: 0.2,
      globalPowerOffEveryMs: 2 * minute,
      guestMovesPerDay: 2,
      startupHoldMs: 5 * minute,
      wakeProof: 'required',
      reserve: null,
    });
  });

  it('never leave the hard bounds of a real cluster, whatever its row says', () => {
    const reckless = row({
      limits: JSON.stringify(simulatedLimits),
      settings: '{"wakeProof":"assumed","reserve":"none"}',
    });
    expect(reckless).toMatchObject({
      spareVoters: 0,
      membershipStableMs: minute,
      minUptimeMs: 5 * minute,
      powerCyclesPerDay: 12,
      powerOffEveryMs: 2 * minute,
      powerOffRatioPerHour: 0.5,
      globalPowerOffEveryMs: 30_000,
      wakeEveryMs: 5_000,
      migrationsPerNode: 4,
      guestMovesPerDay: 12,
      abortFreezeMs: 60 * minute,
      startupHoldMs: 5 * minute,
      wakeProof: 'required',
      reserve: null,
    });
  });

  it('ignore the time scale of a real cluster and divide the durations of a simulated one', () => {
    expect(row({ time_scale: 60 }).minUptimeMs).toBe(30 * minute);
    expect(row({ simulated: 1, time_scale: 60 })).toMatchObject({
      minUptimeMs: 30_000,
      powerOffRatioPerHour: 0.2,
      wakeProof: 'required',
    });
  });

  it.each(['{', '{"minUptime":1}', '[]', '{"minUptimeMs":-1}'])(
    'fall back to the defaults where %s cannot be read',
    (limits) => {
      expect(row({ limits, simulated: 1 }).minUptimeMs).toBe(30 * minute);
    },
  );

  it('say which value a real cluster may not have', () => {
    expect(boundProblem({ guestMovesPerDay: 12, minUptimeMs: null })).toBeUndefined();
    expect(boundProblem({ guestMovesPerDay: 13 })).toEqual({
      name: 'guestMovesPerDay',
      detail: 'at most 12 in a real cluster',
    });
    expect(boundProblem({ memoryReserveRatio: 0 })?.detail).toBe(
      'at least 0.05 and at most 0.9 in a real cluster',
    );
  });
});
