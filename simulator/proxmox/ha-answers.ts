/**
 * High availability as the fake cluster tells it: who manages what, and which node is in
 * maintenance. Looks only.
 */
import type { WorldGuest, WorldNode } from '../world/model.ts';
import { guestsOf, isUp, nodesOf, type Pve, quorumOf, typeOf } from './pve.ts';

/** Rows omit what they do not know. */
export const without = (record: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null));

export const haStateOf = (pve: Pve, guest: WorldGuest): string | null =>
  pve.ha.has(guest.spec.id) ? (guest.state === 'running' ? 'started' : 'stopped') : null;

export const haGuestsOn = (pve: Pve, node: string): WorldGuest[] =>
  guestsOf(pve).filter(
    (guest) =>
      guest.node.spec.node === node && guest.state === 'running' && pve.ha.has(guest.spec.id),
  );

export const managerStatus = (pve: Pve, here: WorldNode) => ({
  manager_status: {
    master_node: here.spec.node,
    node_status: Object.fromEntries(
      nodesOf(pve).map((node) => [
        node.spec.node,
        pve.maintenance.has(node.spec.node) ? 'maintenance' : isUp(node) ? 'online' : 'unknown',
      ]),
    ),
    node_request: Object.fromEntries(
      [...pve.maintenance.keys()].map((name) => [name, { maintenance: 1 }]),
    ),
  },
  lrm_status: Object.fromEntries(
    nodesOf(pve).map(({ spec }) => {
      const isLeaving = pve.maintenance.has(spec.node);
      const hasServices = haGuestsOn(pve, spec.node).length > 0;
      const state = hasServices ? 'active' : isLeaving ? 'maintenance' : 'wait_for_agent_lock';
      return [spec.node, { mode: isLeaving ? 'maintenance' : 'active', state, results: {} }];
    }),
  ),
  // Here it is text, in status/current a number.
  quorum: { node: here.spec.node, quorate: quorumOf(pve, here)?.quorate === false ? '0' : '1' },
});

export const haCurrent = (pve: Pve, here: WorldNode) => [
  { id: 'quorum', type: 'quorum', node: here.spec.node, status: 'OK', quorate: 1 },
  ...guestsOf(pve).flatMap((guest) => {
    const resource = pve.ha.get(guest.spec.id);
    if (resource === undefined) return [];
    const sid = `${typeOf(guest) === 'qemu' ? 'vm' : 'ct'}:${guest.spec.id}`;
    const state = haStateOf(pve, guest);
    return [
      without({
        id: `service:${sid}`,
        type: 'service',
        sid,
        node: guest.node.spec.node,
        state,
        crm_state: state,
        request_state: state,
        'auto-rebalance': resource.autoRebalance,
        status: `${sid} (${guest.node.spec.node}, ${state})`,
      }),
    ];
  }),
];
