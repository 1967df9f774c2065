import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ClusterId,
  GuestId,
  NodeId,
  nodeIdOfHost,
  nodeKey,
  Uuid,
  uuidv7,
} from '../../../broker/contract/ids.ts';

describe('uuidv7', () => {
  const random = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const times = fc.integer({ min: 0, max: 2 ** 48 - 1 });

  it('is a valid UUID of version 7 with its time in front', () => {
    fc.assert(
      fc.property(times, random, (nowMs, bytes) => {
        const id = uuidv7(nowMs, bytes);
        expect(Uuid.safeParse(id).success).toBe(true);
        expect(id[14]).toBe('7');
        expect('89ab').toContain(id[19]);
        expect(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)).toBe(nowMs);
      }),
    );
  });

  it('sorts by time and repeats for the same time and bytes', () => {
    fc.assert(
      fc.property(times, times, random, random, (a, b, first, second) => {
        fc.pre(a < b);
        expect(uuidv7(a, first) < uuidv7(b, second)).toBe(true);
        expect(uuidv7(a, first)).toBe(uuidv7(a, first));
      }),
    );
  });

  it('matches the example of RFC 9562', () => {
    const bytes = Buffer.from('0cc318c4dc0c0c07398f', 'hex');
    expect(uuidv7(0x017f22e279b0, bytes)).toBe('017f22e2-79b0-7cc3-98c4-dc0c0c07398f');
  });
});

describe('ids', () => {
  it.each(['pve1', '0', 'a-b-c', 'x'.repeat(63)])('takes %s', (id) => {
    expect(NodeId.safeParse(id).success).toBe(true);
    expect(ClusterId.safeParse(id).success).toBe(true);
  });

  it.each(['', '-a', 'A', 'a_b', 'a.b', 'a/b', 'a b', '+', '#', 'é', 'x'.repeat(64), 'a\n'])(
    'refuses %j with the rule',
    (id) => {
      const parsed = NodeId.safeParse(id);
      expect(parsed.error?.issues[0]?.message).toMatch(/1 to 63 lower-case letters/);
    },
  );

  it('keeps the reserved cluster names and frees them for nodes', () => {
    for (const id of ['server', 'daemons', 'sys']) {
      expect(ClusterId.safeParse(id).error?.issues[0]?.message).toMatch(/reserved/);
      expect(NodeId.safeParse(id).success).toBe(true);
    }
  });

  it('takes guest ids as hypervisors spell them', () => {
    for (const id of ['100', 'web', 'pve1.web', '4c4c4544-0042-3510', 'a:b_c']) {
      expect(GuestId.safeParse(id).success).toBe(true);
    }
    for (const id of ['', '.a', '-1', 'a/b', 'a b', 'x'.repeat(129)]) {
      expect(GuestId.safeParse(id).success).toBe(false);
    }
  });

  it('names a node by cluster and node', () => {
    expect(nodeKey('home', 'pve1')).toBe('home/pve1');
  });
});

describe('the node id of a host', () => {
  it.each([
    ['PVE1.lan', 'pve1'],
    ['my_host', 'my-host'],
    ['-x', 'x'],
    ['x'.repeat(70), 'x'.repeat(63)],
    ['', 'localhost'],
  ])('makes %j into %j', (name, id) => {
    expect(nodeIdOfHost(name)).toBe(id);
    expect(NodeId.safeParse(id).success).toBe(true);
  });
});
