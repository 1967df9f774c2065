/** The seven boards, as what they ask and how it is drawn. */
import { energy } from './boards/energy.ts';
import { fleet, guests, nodeBoard } from './boards/machines.ts';
import { decisions, loadTest, own } from './boards/server.ts';
import type { BoardSpec } from './panels.ts';

export const boards: readonly BoardSpec[] = [
  fleet,
  nodeBoard,
  guests,
  decisions,
  energy,
  own,
  loadTest,
];
