/**
 * The second opinion of SAFETY section 2 (RELIABILITY R17): one function per rule, by whoever did
 * not write the product's guards. A disagreement shows that one of the two read the text wrongly.
 * Must import no guard of the product.
 */
import type { Case, Rule } from './case.ts';
import { a1, driver, i7, k1, l1, t1, t1Storm, t2, t3 } from './second-control.ts';
import { v1, v10, v2, v3, v4, v5, v6, v7, v8 } from './second-guests.ts';
import { local } from './second-local.ts';
import { w1, w2, w3, w4, w5 } from './second-power.ts';
import { q1, q2, q3, q4, q5, q6, q7 } from './second-quorum.ts';
import { c1, c2, c3, s1, s2, s3 } from './second-scale.ts';

export const secondRules: readonly (readonly [string, Rule])[] = [
  ['K1', k1],
  ['L1', l1],
  ['T1', t1],
  ['T1 storm', t1Storm],
  ['T2', t2],
  ['T3', t3],
  ['driver', driver],
  ['I7', i7],
  ['A1', a1],
  ['Q1', q1],
  ['Q2', q2],
  ['Q3', q3],
  ['Q4', q4],
  ['Q5', q5],
  ['Q6', q6],
  ['Q7', q7],
  ['V1', v1],
  ['V2', v2],
  ['V3', v3],
  ['V4', v4],
  ['V5', v5],
  ['V6', v6],
  ['V7', v7],
  ['V8', v8],
  ['V10', v10],
  ['C1', c1],
  ['C2', c2],
  ['C3', c3],
  ['S1', s1],
  ['S2', s2],
  ['S3', s3],
  ['W1', w1],
  ['W2', w2],
  ['W3', w3],
  ['W4', w4],
  ['W5', w5],
  ['local', local],
];

export type Opinion = { rule: string; why: string };

/** Every rule that denies; none means allowed. */
export const opinions = (question: Case): Opinion[] =>
  secondRules.flatMap(([rule, says]) => {
    const why = says(question);
    return why === null ? [] : [{ rule, why }];
  });
