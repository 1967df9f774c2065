/** Vertical scaling through the simulated world: decided by the engine, done to the very guest. */
import { expect, it } from 'vitest';
import { decide } from '../../backend/decide/decide.ts';
import { emptyHistory, observe } from '../../backend/decide/history.ts';
import { Policy } from '../../backend/decide/policy.ts';
import { advance, begin } from '../../simulator/world/advance.ts';
import { drawHouse } from './houses/draw.ts';
import { houseCluster, Live } from './houses/live.ts';

const startMs = Date.UTC(2026, 0, 5);
const roundMs = 10_000;
const minuteMs = 60_000;

it('grows a guest that needs more and gives back what it no longer uses, one step at a time', () => {
  const { world } = drawHouse(2, startMs);
  const guest = [...world.guests.values()].find(({ cpuCount }) => cpuCount === 1)!;
  const policy = Policy.parse({
    scale: { guests: [{ guests: [guest.spec.id], cpu: { min: 1, max: 4 } }] },
  });
  const house = new Live(world);
  const history = emptyHistory();
  const sizes: number[] = [];
  const sizeNow = (): number => Math.min(guest.cpuCount, guest.cpuLimit ?? Infinity);
  const live = (fromMs: number, untilMs: number): void => {
    for (let nowMs = fromMs; nowMs < untilMs; nowMs += roundMs) {
      house.tell(nowMs, roundMs);
      const state = { cluster: houseCluster, nodes: house.records };
      observe(history, state, policy, nowMs);
      for (const { target, action, executor } of decide(state, policy, history, nowMs).intents) {
        if (action.kind !== 'guest.scale') continue;
        const request = { cluster: 'home', node: executor, target, commandId: null, action };
        const task = begin(world, nowMs, request);
        advance(world, nowMs + 1_000);
        expect(task.outcome).toBe('ok');
        history.scaled.set(`home/${target.id}`, { atMs: nowMs, isOpen: false, failures: 0 });
        sizes.push(sizeNow());
      }
    }
  };
  // It is busy with all that it has.
  guest.forcedRatio = 1;
  live(startMs + roundMs, startMs + 4 * minuteMs);
  expect(sizes).toEqual([]);
  live(startMs + 4 * minuteMs, startMs + 30 * minuteMs);
  // One core of work keeps one busy; two are half used, and that is enough.
  expect(sizes).toEqual([2]);
  guest.forcedRatio = 0.1;
  live(startMs + 30 * minuteMs, startMs + 80 * minuteMs);
  expect(sizes).toEqual([2]);
  live(startMs + 80 * minuteMs, startMs + 180 * minuteMs);
  expect(sizes).toEqual([2, 1]);
});
