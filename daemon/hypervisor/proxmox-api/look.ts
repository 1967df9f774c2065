/**
 * One look at a Proxmox VE cluster before anybody decides to watch it: which certificates are to be
 * compared, what is wrong with the token, and what would be seen. It asks only; nothing is changed,
 * and the token is shown to no certificate that was not pinned or vouched for.
 */
import { nodeIdOfHost } from '../../../broker/contract/ids.ts';
import { ClusterStatus, Resources } from '../proxmox/answers.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import { type ApiEndpoint, createPveApi, PveApiError } from './client.ts';
import { examine, type Finding, shownBy } from './doctor.ts';

export type Look = {
  certificates: { url: string; fingerprint: string }[];
  findings: Finding[];
  cluster: { name: string; nodes: string[]; guestCount: number } | null;
};

async function clusterOf(endpoint: ApiEndpoint): Promise<Look['cluster']> {
  const api = createPveApi(endpoint);
  try {
    const status = await api.get(ClusterStatus, '/cluster/status');
    const { guests } = await api.get(Resources, '/cluster/resources');
    const nodes = status.nodes.map(({ name }) => nodeIdOf(name)).sort();
    return {
      name: nodeIdOfHost(status.cluster?.name ?? nodes[0] ?? ''),
      nodes,
      guestCount: guests.length,
    };
  } catch (error) {
    // Why it cannot be read stands among the findings.
    if (error instanceof PveApiError) return null;
    throw error;
  } finally {
    await api.close();
  }
}

export async function lookAt(endpoint: ApiEndpoint): Promise<Look> {
  const { findings } = await examine(endpoint);
  const isUnknown = findings.some(
    ({ check, state }) => check === 'fingerprint' && state === 'wrong',
  );
  // Pins are given for every member or for none.
  const urls = isUnknown ? endpoint.urls : [];
  const shown = await Promise.all(
    urls.map(async (url) => ({ url, fingerprint: await shownBy(url) })),
  );
  const certificates = shown.flatMap(({ url, fingerprint }) =>
    fingerprint === null ? [] : [{ url, fingerprint }],
  );
  const isAccepted = findings.some(({ check, state }) => check === 'token' && state === 'fine');
  return { certificates, findings, cluster: isAccepted ? await clusterOf(endpoint) : null };
}
