/** The lines that users read when the operating system refuses something at the start. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { ConfigError } from '../../../backend/config.ts';
import { lineForUsers } from '../../../broker/contract/lines-for-users.ts';

const thrownBy = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return error;
  }
};

it('names the file and the way out', () => {
  const missing = thrownBy(() => readFileSync('/nope/kernreaktor.yaml'));
  expect(lineForUsers(missing)).toMatch(/'\/nope\/kernreaktor\.yaml': name one that exists$/);
  expect(lineForUsers(thrownBy(() => readFileSync('/')))).toMatch(/a folder stands where/);
});

it('names a port that is taken', async () => {
  const first = createServer();
  await new Promise<void>((resolve) => void first.listen(0, '127.0.0.1', resolve));
  const { port } = first.address() as { port: number };
  const second = createServer();
  const error = await new Promise((resolve) => {
    second.once('error', resolve).listen(port, '127.0.0.1');
  });
  first.close();
  expect(lineForUsers(error)).toContain(`127.0.0.1:${port}: another program listens there`);
});

it('repeats what one of our own errors says', () => {
  const error = new ConfigError([{ field: 'KR_HTTP_PORT', hint: 'use a port' }]);
  expect(lineForUsers(error)).toBe('KR_HTTP_PORT: use a port');
});

it('leaves bugs alone, so that they keep their stack', () => {
  expect(lineForUsers(new TypeError('x is undefined'))).toBeUndefined();
  expect(lineForUsers('no error at all')).toBeUndefined();
});
