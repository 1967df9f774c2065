import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { broadcastOf } from '../../../daemon/sample/links.ts';
import * as parse from '../../../daemon/sample/parse.ts';

describe('parsing /proc', () => {
  it('never throws and never invents a number, whatever the text', () => {
    const parsers = [
      parse.parseCpu,
      parse.parseMemory,
      parse.parseLoadAverage,
      parse.parseUptimeMs,
      parse.parseDiskStats,
      parse.parseNetDev,
      parse.parsePressure,
      parse.parseMounts,
      parse.parseCpuModel,
    ];
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const read of parsers) expect(JSON.stringify(read(text))).not.toMatch(/NaN|Infinity/);
      }),
    );
  });

  it('counts steal and interrupts as busy, guest time only once', () => {
    const cpu = parse.parseCpu('cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1 2 3 4 5 6 7 8 100 100\n');
    expect(cpu).toEqual({ ticks: { busy: 27, idle: 4, ioWait: 5 }, cpuCount: 1 });
  });

  it('does not know the memory in use of a kernel without MemAvailable', () => {
    const memory = parse.parseMemory('MemTotal: 10 kB\nMemFree: 5 kB\n');
    expect(memory).toMatchObject({ totalBytes: 10_240, usedBytes: null, swapUsedBytes: null });
  });

  it('reads an interface whose counter stands right behind the colon', () => {
    expect(parse.parseNetDev('eth0:123 0 0 0 0 0 0 0 45 0\n')?.get('eth0')).toEqual({
      inBytes: 123,
      outBytes: 45,
    });
  });
});

describe('broadcastOf', () => {
  it.each([
    ['192.168.1.17/24', '192.168.1.255'],
    ['10.1.2.3/23', '10.1.3.255'],
    ['172.16.5.4/12', '172.31.255.255'],
    ['223.255.255.1/30', '223.255.255.3'],
  ])('sets all host bits of %s', (cidr, broadcast) => expect(broadcastOf(cidr)).toBe(broadcast));

  it.each(['10.0.0.1/31', '10.0.0.1/32', '10.0.0.1', 'fe80::1/64', '10.0.0.1/x'])(
    'knows none for %s',
    (cidr) => expect(broadcastOf(cidr)).toBeNull(),
  );
});
