/** R4, whole daemons: processes with production executor and Proxmox driver, killed at random. */
import { experiment } from '../support/experiment.ts';
import { houseRun } from './r03.ts';

export const r04House = experiment(import.meta, {
  name: 'R4 whole daemons',
  short: 20,
  long: 2_000,
  run: (scope) => {
    const isShort = scope.n < 500;
    const size = isShort
      ? { clusters: 1, nodesPerCluster: 3 }
      : { clusters: 4, nodesPerCluster: 4 };
    const kills = isShort ? 2 : Math.round(scope.n / 10);
    return houseRun({ commands: scope.n, kills, victims: 'daemons', ...size }, scope);
  },
});
