import { expect, it } from 'vitest';
import { act } from '../../../backend/cli/act.ts';
import type { Call, ClientApi } from '../../../backend/cli/api.ts';
import type { Clock } from '../../../broker/contract/ports.ts';

const guest = { cluster: 'home', id: '103', name: 'web', node: 'n3', kind: 'vm' };
const numbers = { cpuRatio: null, memoryUsedBytes: null, memoryTotalBytes: null };
const wake = (state: string) => ({ step: 'wake', node: 'n3', command: 'w', state, reason: null });
const ready = (state: string, reason: string | null = null) => ({
  step: 'ready',
  node: 'n3',
  command: null,
  state,
  reason,
});
const start = (state: string) => ({ ...wake(state), step: 'start', command: 's' });

const detail = (states: string[], steps: object[]) => ({
  id: 's',
  cluster: 'home',
  kind: 'guest.start',
  target: { kind: 'guest', id: '103' },
  node: 'n3',
  state: states.at(-1),
  stateReason: null,
  actor: 'account:anna',
  plannedAt: '2026-01-01T00:00:00.000Z',
  steps,
  history: states.map((state) => ({ state, at: '2026-01-01T00:00:00.000Z' })),
});

it('follows a start that wakes its node first, saying each step once', async () => {
  const details = [
    detail(['PLANNED'], [wake('running'), ready('waiting'), start('waiting')]),
    detail(['PLANNED'], [wake('running'), ready('waiting'), start('waiting')]),
    detail(['PLANNED'], [wake('done'), ready('running', 'no sample yet'), start('waiting')]),
    detail(['PLANNED', 'QUEUED', 'SUCCEEDED'], [wake('done'), ready('done'), start('done')]),
  ];
  const answerOf = ({ method, path }: Call): unknown => {
    if (method === 'POST') return { id: 's', state: 'PLANNED' };
    if (path.startsWith('/api/v1/commands/')) return details.shift();
    const items = path.startsWith('/api/v1/guests')
      ? [{ ...guest, ...numbers, state: 'stopped' }]
      : [];
    return { items, total: items.length, nextCursor: null };
  };
  const api = { ask: async (schema, call) => schema.parse(answerOf(call)) } as ClientApi;
  const said: string[] = [];
  const person = { say: (line: string) => void said.push(line) } as Parameters<
    typeof act
  >[1]['person'];
  const clock = { after: (_: number, run: () => void) => (run(), () => undefined) } as Clock;
  const { signal } = new AbortController();
  const order = { kind: 'guest.start', target: '103', args: [], by: undefined, reason: undefined };
  const code = await act(
    { ...order, wait: true, json: false },
    { api, person, clock, newId: () => 'key', signal },
  );
  expect(code).toBe(0);
  expect(said).toEqual([
    'guest.start home/103: command s',
    'planned',
    '  wake w (node n3): running',
    '  wake w (node n3): done',
    '  ready (node n3): running: no sample yet',
    'queued',
    'succeeded',
    '  ready (node n3): done',
    '  start s (node n3): done',
  ]);
});
