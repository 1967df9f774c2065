import { describe, expect, it } from 'vitest';
import { type Sleeper, wakeTableOf } from '../../../backend/act/wake-table.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { WakeTable } from '../../../broker/contract/server.ts';

const mac = (index: number): string => `02:00:00:00:00:0${index}`;
const sleeper = (id: string, index: number, more: Partial<Sleeper> = {}): Sleeper => ({
  id,
  maintenance: false,
  facts: NodeFacts.parse({
    links: [
      {
        name: 'eno1',
        mac: mac(index),
        broadcast: '10.0.0.255',
        wakeOnMagic: true,
        driver: 'e1000e',
      },
    ],
  }),
  ...more,
});

describe('the wake table of a daemon', () => {
  it('names every other node with its cards and networks, in one order', () => {
    const table = wakeTableOf([sleeper('n3', 3), sleeper('n2', 2)], 600_000);
    expect(WakeTable.parse(table)).toMatchObject({
      wakeAfterMs: 600_000,
      entries: [
        { node: 'n2', macs: [mac(2)], broadcasts: ['10.0.0.255'] },
        { node: 'n3', macs: [mac(3)], broadcasts: ['10.0.0.255'] },
      ],
    });
  });

  it('leaves out who is under maintenance, and who never said by which card it is woken', () => {
    const others = [
      sleeper('n2', 2, { maintenance: true }),
      sleeper('n3', 3, { facts: null }),
      sleeper('n4', 4),
    ];
    expect(wakeTableOf(others, 1)?.entries.map(({ node }) => node)).toEqual(['n4']);
    expect(wakeTableOf(others.slice(0, 2), 1)).toBeNull();
  });

  it('has the same version for the same words, and another one for others', () => {
    const version = (others: Sleeper[], wakeAfterMs: number | null = 1) =>
      wakeTableOf(others, wakeAfterMs)?.version;
    const first = version([sleeper('n2', 2), sleeper('n3', 3)]);
    expect(version([sleeper('n3', 3), sleeper('n2', 2)])).toBe(first);
    const changed = [
      version([sleeper('n2', 2)]),
      version([sleeper('n2', 2), sleeper('n3', 4)]),
      version([sleeper('n2', 2), sleeper('n3', 3)], null),
    ];
    expect(new Set([first, ...changed]).size).toBe(4);
  });
});
