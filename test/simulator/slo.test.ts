import { describe, expect, it } from 'vitest';
import { brokenPromises, type Figures, parseSlo } from '../../simulator/slo.ts';

const figures: Figures = {
  lost: 0,
  p50: 40,
  p99: 250,
  max: 900,
  connect: 4_000,
  commandP50: null,
  commandP99: null,
  notTerminal: 0,
  wrongEffects: 0,
  rejected: 3,
  refused: 0,
  duplicates: 0,
  dropped: 0,
  unaccounted: 0,
  backendRss: 300,
  backendCpu: 0.5,
  generatorCpu: 0.95,
};

const broken = (text: string): string[] => {
  const parsed = parseSlo(text);
  if (!parsed.ok) throw new Error(parsed.why);
  return brokenPromises(parsed.promises, figures);
};

describe('service levels', () => {
  it.each([
    ['lost==0', []],
    ['lost==0,p99<=250ms', []],
    [' p99 < 250 ms ', ['p99 < 250 ms does not hold: p99 is 250']],
    ['connect<4s', ['connect<4s does not hold: connect is 4000']],
    ['connect<=4s', []],
    [
      'rejected<3, lost>0',
      ['rejected<3 does not hold: rejected is 3', 'lost>0 does not hold: lost is 0'],
    ],
    ['generatorCpu<90%', ['generatorCpu<90% does not hold: generatorCpu is 0.95']],
    ['backendRss<0.3GiB', []],
    ['backendRss>=400MB', ['backendRss>=400MB does not hold: backendRss is 300']],
    ['max>1', []],
  ])('judges %s', (text, expected) => {
    expect(broken(text)).toEqual(expected);
  });

  it('counts a figure that was not measured as a broken promise', () => {
    expect(broken('commandP99<1s')).toEqual(['commandP99<1s does not hold: commandP99 is unknown']);
  });

  it.each([
    ['', 'is no promise'],
    ['p99', 'is no promise'],
    ['p99=<1', 'is no promise'],
    ['p99<fast', 'is no promise'],
    ['p98<1', "no figure is called 'p98': use one of lost, p50, p99"],
    ['p99<1h', "p99 is not measured in 'h': use ms or s"],
    ['lost==0ms', "lost is not measured in 'ms': write a bare number"],
    ['lost==0,', 'is no promise'],
    ['toString<1', 'no figure is called'],
  ])('refuses %j and says why', (text, why) => {
    const parsed = parseSlo(text);
    expect(parsed).toEqual({ ok: false, why: expect.stringContaining(why) });
  });
});
