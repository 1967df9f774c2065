import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  commonClusters,
  hasRole,
  localPrincipal,
  lowerRole,
  may,
  mayUseCluster,
  permissions,
  type Permission,
  roles,
} from '../../../backend/http/access.ts';
import { createLoginDelay } from '../../../backend/http/login-delay.ts';
import { networksOf } from '../../../backend/http/networks.ts';
import {
  cursorOf,
  keyOf,
  keysOfClusters,
  pageOfKeys,
  sortedKeys,
} from '../../../backend/http/paging.ts';
import { createPasswords, weaknessOf } from '../../../backend/http/passwords.ts';
import { isSameSecret } from '../../../backend/http/secrets.ts';
import { seededRandom } from '../../support/clock.ts';

describe('access', () => {
  it('lets a higher role do whatever a lower one may', () => {
    for (const permission of Object.keys(permissions) as Permission[]) {
      const verdicts = roles.map((role) => may({ ...localPrincipal, role }, permission));
      const first = verdicts.indexOf('allowed');
      expect(first).toBeGreaterThanOrEqual(0);
      expect(verdicts.slice(first).every((verdict) => verdict === 'allowed')).toBe(true);
    }
  });

  it('keeps a scoped administrator from what concerns every cluster', () => {
    const scoped = { ...localPrincipal, clusters: new Set(['home']) };
    expect(may(scoped, 'users:manage')).toBe('scope');
    expect(may(scoped, 'clusters:change')).toBe('allowed');
    expect(mayUseCluster(scoped, 'home')).toBe(true);
    expect(mayUseCluster(scoped, 'away')).toBe(false);
  });

  it('never raises a role or widens a scope when two are combined', () => {
    const role = fc.constantFrom(...roles);
    const scope = fc.option(
      fc.array(fc.constantFrom<string[]>('a', 'b', 'c')).map((list) => new Set(list)),
    );
    fc.assert(
      fc.property(role, role, scope, scope, (x, y, a, b) => {
        expect(hasRole(x, lowerRole(x, y)) && hasRole(y, lowerRole(x, y))).toBe(true);
        for (const cluster of ['a', 'b', 'c']) {
          const isIn = commonClusters(a, b)?.has(cluster) ?? true;
          expect(isIn).toBe((a?.has(cluster) ?? true) && (b?.has(cluster) ?? true));
        }
      }),
    );
  });
});

describe('sign-in delay', () => {
  const options = { freeAttempts: 3, capMs: 8_000, keysMax: 2 };

  it('is nothing at first, then doubles up to its cap, and never locks', () => {
    const delay = createLoginDelay(options);
    let nowMs = 0;
    const waits: number[] = [];
    for (let attempt = 0; attempt < 9; attempt += 1) {
      const waitMs = delay.attempt('anna', nowMs);
      waits.push(waitMs);
      nowMs += waitMs;
      // Whoever waited as told gets in.
      if (waitMs > 0) waits.push(delay.attempt('anna', nowMs));
    }
    const doubling = [1_000, 2_000, 4_000, 8_000, 8_000, 8_000].flatMap((waitMs) => [waitMs, 0]);
    expect(waits).toEqual([0, 0, 0, ...doubling]);
  });

  it('counts parallel attempts before any of them is judged', () => {
    const delay = createLoginDelay(options);
    const waits = Array.from({ length: 5 }, () => delay.attempt('anna', 0));
    expect(waits.filter((waitMs) => waitMs === 0)).toHaveLength(3);
  });

  it('starts anew after a success, for that name only', () => {
    const delay = createLoginDelay(options);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      delay.attempt('anna', 0);
      delay.attempt('ben', 0);
    }
    delay.succeeded('anna');
    expect(delay.attempt('anna', 0)).toBe(0);
    expect(delay.attempt('ben', 0)).toBeGreaterThan(0);
  });

  it('takes back one attempt without forgetting the others, and forgets with time', () => {
    const delay = createLoginDelay(options);
    for (let attempt = 0; attempt < 3; attempt += 1) delay.attempt('192.0.2.1', 0);
    delay.takeBack('192.0.2.1');
    expect(delay.attempt('192.0.2.1', 0)).toBe(0);
    expect(delay.attempt('192.0.2.1', 0)).toBe(1_000);
    expect(delay.attempt('192.0.2.1', 600_000)).toBe(0);
    expect(delay.attempt('192.0.2.1', 600_000)).toBe(1_000);
  });

  it('remembers a bounded number of names', () => {
    const delay = createLoginDelay(options);
    for (let name = 0; name < 100; name += 1) delay.attempt(`name ${name}`, 0);
    expect(delay.size()).toBe(2);
  });
});

describe('networks', () => {
  it('lets everyone in without lists', () => {
    expect(networksOf([], []).mayConnect('203.0.113.9')).toBe(true);
  });

  it.each([
    ['10.1.2.3', true],
    ['::ffff:10.1.2.3', true],
    ['10.66.0.1', false],
    ['::ffff:10.66.0.1', false],
    ['192.168.0.1', false],
    ['fd00::1', true],
    ['fd01::1', false],
  ])('judges %s by allow and deny, deny first', (address, isAllowed) => {
    const networks = networksOf(['10.0.0.0/8', 'fd00::/16'], ['10.66.0.0/16']);
    expect(networks.mayConnect(address)).toBe(isAllowed);
  });
});

describe('paging', () => {
  const keyed = fc.uniqueArray(
    fc.tuple(fc.constantFrom('a', 'a-b', 'b', 'b0'), fc.stringMatching(/^[a-z0-9]{1,4}$/)),
    { selector: ([cluster, id]) => `${cluster}/${id}` },
  );

  it('visits every key once, whatever the page size', () => {
    fc.assert(
      fc.property(keyed, fc.integer({ min: 1, max: 7 }), (pairs, limit) => {
        const keys = pairs.map(([cluster, id]) => `${cluster}/${id}`).sort();
        const seen: string[] = [];
        let cursor: string | undefined;
        do {
          const page = pageOfKeys(keys, { limit, cursor }, (key) => key);
          expect(page.total).toBe(keys.length);
          seen.push(...page.items);
          cursor = page.nextCursor ?? undefined;
        } while (cursor !== undefined);
        expect(seen).toEqual(keys);
      }),
    );
  });

  it('finds exactly the keys of the clusters in scope', () => {
    fc.assert(
      fc.property(keyed, fc.subarray(['a', 'a-b', 'b', 'b0']), (pairs, clusters) => {
        const keys = pairs.map(([cluster, id]) => `${cluster}/${id}`).sort();
        const wanted = pairs
          .filter(([cluster]) => clusters.includes(cluster))
          .map(([cluster, id]) => `${cluster}/${id}`)
          .sort();
        expect(keysOfClusters(keys, clusters)).toEqual(wanted);
      }),
    );
  });

  it('refuses a cursor that it did not make', () => {
    expect(keyOf(cursorOf('home/n1'))).toBe('home/n1');
    expect(() => keyOf('!!')).toThrow('not a cursor');
  });

  it('sorts at once when a small map grows, and within 5 s whatever happened', () => {
    const map = new Map([['b', 1]]);
    const keys = sortedKeys(() => map);
    expect(keys.at(0)).toEqual(['b']);
    map.set('a', 1);
    expect(keys.at(1)).toEqual(['a', 'b']);
    map.delete('a');
    map.set('c', 1);
    expect(keys.at(5_000)).toEqual(['a', 'b']);
    expect(keys.at(5_001)).toEqual(['b', 'c']);
  });

  it('scans for a filter at most once a second', () => {
    const map = new Map([
      ['b', 1],
      ['a', 2],
    ]);
    const keys = sortedKeys(() => map);
    const even = (nowMs: number) => keys.where(nowMs, 'even', (value) => value % 2 === 0);
    expect(even(0)).toEqual(['a']);
    map.set('b', 4);
    expect(even(999)).toEqual(['a']);
    expect(even(1_000)).toEqual(['a', 'b']);
  });
});

describe('passwords', () => {
  const common = new Set(['password1234']);

  it.each([
    ['short', 'anna', 'at least 12'],
    ['Password1234', 'anna', 'common'],
    ['abababababab', 'anna', 'five different'],
    ['correct-Anna-staple', 'anna', 'user name'],
    ['x'.repeat(257), 'anna', 'at most 256'],
  ])('refuses %s', (password, username, why) => {
    expect(weaknessOf(password, username, common)).toContain(why);
  });

  it('counts characters, not bytes, and takes a sentence', () => {
    expect(weaknessOf('älter🐘ßüöĸ', 'anna', common)).toContain('characters');
    expect(weaknessOf('älter 🐘 als der Wald', 'anna', common)).toBeNull();
  });

  it('verifies what it hashed, under any Unicode form, and nothing else', async () => {
    const passwords = await createPasswords((count) => seededRandom(1).bytes(count));
    const stored = await passwords.hash('Gru\u0308n ist die Heide');
    expect(stored).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await passwords.verify(stored, 'Gr\u00fcn ist die Heide')).toBe(true);
    expect(await passwords.verify(stored, 'Grau ist die Heide..')).toBe(false);
    expect(await passwords.verify(null, 'Grün ist die Heide')).toBe(false);
  });

  it('refuses the bundled common ones of every length it accepts', async () => {
    const passwords = await createPasswords((count) => seededRandom(1).bytes(count));
    expect(passwords.weakness('qwertyuiop123', 'anna')).toContain('common');
    expect(passwords.weakness('CorrectHorseBatteryStaple', 'anna')).toContain('common');
  });

  it('turns the flood away when too many are waiting', async () => {
    const passwords = await createPasswords((count) => seededRandom(1).bytes(count));
    const answers = await Promise.allSettled(
      Array.from({ length: 40 }, () => passwords.verify(null, 'Grün ist die Heide')),
    );
    const refused = answers.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(6);
    expect(refused[0]).toMatchObject({ reason: { problem: { code: 'KR_BUSY', status: 503 } } });
  });
});

describe('secrets', () => {
  it('compares whatever lengths come', () => {
    expect(isSameSecret('abc', 'abc')).toBe(true);
    expect(isSameSecret('abc', 'abd')).toBe(false);
    expect(isSameSecret('', 'abc')).toBe(false);
  });
});
