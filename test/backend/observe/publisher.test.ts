import { expect, it } from 'vitest';
import { watchAudit } from '../../../backend/observe/audit-watch.ts';
import type { Point } from '../../../backend/observe/metrics.ts';
import { linesOfPoints, startPublisher } from '../../../backend/observe/publisher.ts';
import { escape } from '../../../backend/store/metrics/influx-client.ts';
import { virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';

const points: Point[] = [
  { name: 'kr_guests', labels: { cluster: 'my home' }, value: 4 },
  { name: 'kr_nodes', labels: { state: 'awake', cluster: 'my home' }, value: 2 },
  { name: 'kr_hold', labels: { cluster: 'my home' }, value: 0 },
  { name: 'kr_up', labels: {}, value: 1 },
  { name: 'kr_lag', labels: {}, value: NaN },
];

it('writes one line per set of labels, sorted and escaped, and no line for what is no number', () => {
  expect(linesOfPoints(points, (tag) => escape.tag(tag), 7)).toEqual([
    'kr,cluster=my\\ home guests=4,hold=0 7',
    'kr,cluster=my\\ home,state=awake nodes=2 7',
    'kr up=1 7',
  ]);
});

it('sends every 10 s, forgets what failed, and ends when it is told', async () => {
  const clock = virtualClock();
  const log = memoryLog();
  const sent: (readonly string[])[] = [];
  let isDown = false;
  const publisher = startPublisher({
    points: async () => [{ name: 'kr_up', labels: {}, value: sent.length }],
    async send(lines) {
      if (isDown) throw new Error('away');
      sent.push(lines);
    },
    escape: (tag) => tag,
    clock,
    log,
  });
  await clock.advance(10_000);
  isDown = true;
  await clock.advance(10_000);
  isDown = false;
  await clock.advance(10_000);
  expect(sent.map(([line]) => line?.split(' ')[1])).toEqual(['up=0', 'up=1']);
  expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  publisher.stop();
  await clock.advance(60_000);
  expect(sent).toHaveLength(2);
});

it('verifies every audit chain soon after the start and says which one is broken', async () => {
  const clock = virtualClock();
  const log = memoryLog();
  const watch = watchAudit({
    chains: async () => ['home', 'system'],
    verify: async (chain) =>
      chain === 'home'
        ? { ok: true, entries: 3 }
        : { ok: false, brokenAtSeq: 2, why: 'the entry was changed after it was written' },
    clock,
    log,
  });
  expect([...watch.found()]).toEqual([]);
  await clock.advance(60_000);
  expect([...watch.found()]).toEqual([
    { chain: 'home', ok: true, entries: 3 },
    { chain: 'system', ok: false, entries: 2 },
  ]);
  expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  watch.stop();
});
