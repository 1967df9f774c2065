/**
 * A node and its guests have different mutexes, so only this row keeps a guest from starting on, or
 * moving to, a node whose power is being taken away; guards-power.ts holds the other direction.
 * What may have begun counts, also in doubt. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { type Guard, judged } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

const isOfGuest = (kind: CommandKind): boolean => kind.startsWith('guest.');

export const leaving: Guard = {
  id: 'node-leaving',
  appliesTo: isOfGuest,
  verdict({ underWay, executor, destination }) {
    const powerOff = underWay.find(
      ({ kind, target }) =>
        isPowerOff(kind) && (target === executor?.id || target === destination?.id),
    );
    return judged(
      'V1',
      [{ name: 'powerOff', value: powerOff?.id ?? null }],
      powerOff
        ? {
            code: 'KR_NODE_LEAVING',
            reason: `${powerOff.kind} of node ${powerOff.target} is ${powerOff.state}`,
            wayOut: 'wait until it has ended, or resolve it when it is INDETERMINATE',
          }
        : null,
    );
  },
};
