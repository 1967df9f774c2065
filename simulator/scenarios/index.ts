/** Every scenario by its name: the list that `--scenario` offers. */
import { closedLoop } from './closed-loop.ts';
import { hotSpot } from './hot-spot.ts';
import { brokerRestart, flapping, thunderingHerd } from './network.ts';
import { nodeCrash } from './node-crash.ts';
import type { Scenario } from './scenario.ts';
import { wakeFails } from './wake-fails.ts';

const steady: Scenario = {
  name: 'steady',
  about: 'nothing happens but the load shapes of the guests',
  events: () => [],
};

export const scenarios: ReadonlyMap<string, Scenario> = new Map(
  [steady, hotSpot, nodeCrash, flapping, brokerRestart, thunderingHerd, wakeFails, closedLoop].map(
    (scenario) => [scenario.name, scenario],
  ),
);
