/**
 * Who saw a command's post-condition, and when that is proof. One witness is enough for what can
 * be looked at again; a power-off needs two of different kinds, because one blind spot (a cut
 * cable) makes any number of witnesses of one kind say "gone". Pure.
 */
import { isIPv4 } from 'node:net';
import { z } from 'zod';
import type { CommandKind } from '../../broker/contract/command.ts';
import type { NodeFacts } from '../../broker/contract/facts.ts';

export const Witness = z.object({
  /**
   * executor: the node that acted looked; probe: another node looked; gone: its MQTT session
   * ended; membership: another node's cluster membership no longer lists it; boot: it came back
   * with another boot id, so the old boot is over; person: an administrator said so.
   */
  kind: z.enum(['executor', 'probe', 'gone', 'membership', 'boot', 'person']),
  by: z.string(),
  atMs: z.number(),
  detail: z.string(),
});
export type Witness = z.infer<typeof Witness>;

const Witnesses = z.array(Witness);
export const parseWitnesses = (json: string): Witness[] => Witnesses.parse(JSON.parse(json));

/** The newest word of each witness; its earlier one is replaced, so repeats change nothing. */
export const withWitness = (all: readonly Witness[], witness: Witness): Witness[] => [
  ...all.filter((other) => other.kind !== witness.kind || other.by !== witness.by),
  witness,
];

/** Without what this witness said before: it now sees otherwise. */
export const withoutWitness = (
  all: readonly Witness[],
  gone: Pick<Witness, 'kind' | 'by'>,
): Witness[] => all.filter((other) => other.kind !== gone.kind || other.by !== gone.by);

const powerOffKinds: ReadonlySet<Witness['kind']> = new Set(['gone', 'membership', 'probe']);

/** SAFETY t11: whether these witnesses together prove the post-condition. */
export function isProven(kind: CommandKind, witnesses: readonly Witness[]): boolean {
  const booted = witnesses.some((witness) => witness.kind === 'boot');
  switch (kind) {
    case 'node.wake':
    case 'node.reboot':
      return booted;
    case 'node.shutdown': {
      const kinds = new Set(witnesses.map((witness) => witness.kind));
      return booted || [...kinds].filter((one) => powerOffKinds.has(one)).length >= 2;
    }
    case 'node.drain':
    case 'node.restore':
    case 'guest.create':
    case 'guest.delete':
    case 'guest.start':
    case 'guest.stop':
    case 'guest.restart':
    case 'guest.snapshot':
    case 'guest.migrate':
    case 'guest.scale':
      return witnesses.some((one) => one.kind === 'executor' || one.kind === 'probe');
    default:
      return kind satisfies never;
  }
}

const addressesMax = 8;

/** Where no membership can tell whether it is off, a witness looks for the host in its network. */
export function whereaboutsOf(facts: NodeFacts | null): { addresses?: string[] } {
  if (!facts || facts.quorum !== null) return {};
  const own = (facts.links ?? []).flatMap(({ address }) => address?.split('/')[0] ?? []);
  const addresses = own.filter((address) => isIPv4(address)).slice(0, addressesMax);
  return addresses.length > 0 ? { addresses } : {};
}

/**
 * Whether the executor's own look can settle the command. Of a power-off it cannot: it still
 * speaks, or is gone. Of a wake it only knows that it sent.
 */
export const executorCanSee = (kind: CommandKind): boolean =>
  kind !== 'node.shutdown' && kind !== 'node.reboot' && kind !== 'node.wake';
