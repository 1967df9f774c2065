/** What the server knows, for tests that start from it: a cluster with nothing set. */
import type { ClusterRecord } from '../../backend/state/fleet.ts';

export const homeCluster = (change: Partial<ClusterRecord> = {}): ClusterRecord => ({
  id: 'home',
  simulated: false,
  timeScale: 1,
  hold: false,
  autonomy: {},
  policyHash: null,
  policyYaml: null,
  ...change,
});
