/** R12 at the default lease of 10 s: the same takeovers on the clock of a real house. */
import { experiment } from '../support/experiment.ts';
import { takeovers } from './r12.ts';

export const r12Default = experiment(import.meta, {
  name: 'R12 default lease',
  short: 1,
  long: 30,
  run: (scope) => takeovers(scope, 1),
});
