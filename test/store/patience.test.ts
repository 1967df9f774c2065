import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { whenStoreAnswers } from '../../backend/store/patience.ts';
import { StoreUnavailable } from '../../backend/store/sql/errors.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

const given = () => ({ clock: virtualClock(), log: memoryLog(), stopping: new AbortController() });

/** Fails so often with the store away, then with `other`, if there is one. */
function failing(times: number, other?: Error) {
  const seen = { tries: 0 };
  const work = async (): Promise<string> => {
    seen.tries += 1;
    if (seen.tries <= times) throw new StoreUnavailable('silent');
    if (other) throw other;
    return 'done';
  };
  return { seen, work };
}

it('tries again every second until the store answers', async () => {
  const { clock, log, stopping } = given();
  const { seen, work } = failing(3);
  const waiting = whenStoreAnswers(work, { clock, log, signal: stopping.signal });
  await setImmediate();
  await clock.advance(2_999);
  expect(seen.tries).toBe(3);
  await clock.advance(1);
  expect(await waiting).toBe('done');
});

it('hides no other failure', async () => {
  const { clock, log, stopping } = given();
  const { work } = failing(0, new Error('ours'));
  await expect(whenStoreAnswers(work, { clock, log, signal: stopping.signal })).rejects.toThrow(
    'ours',
  );
});

it('ends with the store still away once it is told to stop', async () => {
  const { clock, log, stopping } = given();
  const { work } = failing(9);
  const waiting = whenStoreAnswers(work, { clock, log, signal: stopping.signal });
  await setImmediate();
  stopping.abort();
  await expect(waiting).rejects.toThrow('silent');
  expect(clock.pending()).toBe(0);
});
