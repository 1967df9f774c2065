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

it('deletes a guest only for who types its id', async () => {
  const sent: Call[] = [];
  const answerOf = (call: Call): unknown => {
    if (call.method === 'POST') return sent.push(call) && { id: 'd', state: 'QUEUED' };
    const items = call.path.startsWith('/api/v1/guests')
      ? [{ ...guest, ...numbers, state: 'stopped' }]
      : [];
    return { items, total: items.length, nextCursor: null };
  };
  const api = { ask: async (schema, call) => schema.parse(answerOf(call)) } as ClientApi;
  const order = { kind: 'guest.delete', target: 'web', args: [], by: undefined, reason: undefined };
  const asked: string[] = [];
  const deleted = (typed: string | null, confirm?: string) => {
    const person = {
      say: () => undefined,
      ask: async (question: string) => (asked.push(question), typed),
      askSecret: async () => null,
    };
    const clock = {} as Clock;
    const { signal } = new AbortController();
    return act(
      { ...order, confirm, wait: false, json: false },
      { api, person, clock, newId: () => 'key', signal },
    );
  };
  await expect(deleted('web')).rejects.toThrow('that is not 103; nothing was done');
  await expect(deleted(null)).rejects.toThrow('or with --confirm 103');
  expect(sent).toEqual([]);
  expect(await deleted('103')).toBe(0);
  expect(asked).toEqual(Array(3).fill('Type the id of the guest to go on: '));
  expect(await deleted(null, '103')).toBe(0);
  expect(asked).toHaveLength(3);
  const body = { cluster: 'home', kind: 'guest.delete', node: 'n3', guest: '103', args: {} };
  expect(sent.map((call) => call.body)).toEqual([body, body]);
});
