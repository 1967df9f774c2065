/**
 * Puts one proposal to both judges and names how they differ. Dangerous is where the product
 * allows what the second reading denies; the other direction costs a saving, never a machine.
 */
import type { Case } from './case.ts';
import { productSays } from './production.ts';
import { opinions } from './second.ts';

export type Comparison = {
  isAllowed: boolean;
  isAllowedBySecond: boolean;
  /** Rules of the second reading that deny what the product allows, for this kind of command. */
  dangerous: string[];
  /** Rows of the product that deny what the second reading allows. */
  careful: string[];
  /** What server or node alone would have let pass, whatever the other says of it. */
  layers: string[];
};

export function compare(question: Case): Comparison {
  const { kind } = question.proposal.action;
  const product = productSays(question);
  const second = opinions(question);
  const isAllowed = product.server.length === 0 && product.local === null;
  const isAllowedBySecond = second.length === 0;
  const rows = [...product.server, ...(product.local === null ? [] : [`node ${product.local}`])];
  const isOfNode = ({ rule }: { rule: string }): boolean => rule === 'local';
  const passed = [
    ...(product.server.length === 0 ? second.filter((one) => !isOfNode(one)) : []),
    ...(product.local === null ? second.filter(isOfNode) : []),
  ];
  return {
    isAllowed,
    isAllowedBySecond,
    dangerous: isAllowed ? second.map(({ rule, why }) => `${kind} ${rule}: ${why}`) : [],
    layers: passed.map(({ rule, why }) => `${kind} ${rule}: ${why}`),
    careful: isAllowedBySecond ? rows.map((row) => `${kind} ${row}`) : [],
  };
}
