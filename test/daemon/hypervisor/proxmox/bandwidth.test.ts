import { describe, expect, it } from 'vitest';
import { migrationLimitOf } from '../../../../daemon/hypervisor/proxmox/bandwidth.ts';
import { ClusterOptions } from '../../../../daemon/hypervisor/proxmox/ha.ts';

describe('the limit of migrations', () => {
  it.each<[string, object | undefined, number | null, number | null]>([
    ['as text', { bwlimit: 'migration=10240,default=1' }, null, 10_240 * 1_024],
    ['as an object', { bwlimit: { migration: 512 } }, null, 512 * 1_024],
    ['by its default', { bwlimit: 'default=100' }, null, 102_400],
    ['lifted for migrations alone', { bwlimit: 'default=100,migration=0' }, null, null],
    ['of other things', { bwlimit: 'restore=100' }, null, null],
    ['not set', {}, null, null],
    ['unreadable', undefined, null, null],
    ['of the daemon before all', { bwlimit: 'migration=10240' }, 5e7, 5e7],
  ])('is that of datacenter.cfg %s', (_, options, own, limit) => {
    expect(migrationLimitOf(own, options && ClusterOptions.parse(options))).toBe(limit);
  });
});
