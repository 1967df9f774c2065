/**
 * Which daemons get another version, in which order, and how it is judged whether one came back
 * well. Pure. The canary is first, what is protected last: a fault shall show where least is lost.
 */

export type NodeSeen = {
  id: string;
  state: string;
  /** Of its daemon; null while none was heard. */
  version: string | null;
  incarnation: number;
  driver: string | null;
  simulated: boolean;
  protected: boolean;
  guestCount: number | null;
  capabilities: readonly string[];
};
export type DaemonSeen = { cluster: string; daemon: string; nodes: readonly NodeSeen[] };

export type Planned = DaemonSeen & { before: string };
export type LeftOut = { cluster: string; daemon: string; why: string; isLater: boolean };
export type Plan = { steps: readonly Planned[]; leftOut: readonly LeftOut[] };

/** States in which a daemon answers. */
const answering = new Set(['awake', 'maintenance', 'draining']);

export const nameOf = ({ cluster, daemon }: { cluster: string; daemon: string }): string =>
  `${cluster}/${daemon}`;

function partsOf(version: string): number[] {
  const [core = ''] = version.split(/[-+~]/);
  return core.split('.').map(Number);
}

/** By major, minor and patch; a suffix does not count. */
export function isNewer(version: string, than: string): boolean {
  const [a, b] = [partsOf(version), partsOf(than)];
  const at = a.findIndex((part, index) => part !== (b[index] ?? 0));
  return at >= 0 && (a[at] ?? 0) > (b[at] ?? 0);
}

function whyNot({ nodes }: DaemonSeen, target: string): Omit<LeftOut, 'cluster' | 'daemon'> | null {
  const heard = nodes.filter(({ version }) => version !== null);
  if (heard.length > 0 && heard.every(({ version }) => version === target)) {
    return { why: `has ${target}`, isLater: false };
  }
  if (nodes.some(({ state }) => answering.has(state))) return null;
  const [first] = nodes;
  if (nodes.every(({ state }) => state === 'asleep')) {
    return { why: 'asleep; its turn comes when it is awake', isLater: true };
  }
  return { why: `${first?.state ?? 'no node'}; nobody could say how it went`, isLater: true };
}

const guestsOf = ({ nodes }: DaemonSeen): number =>
  nodes.reduce((sum, { guestCount }) => sum + (guestCount ?? 0), 0);
const isProtected = ({ nodes }: DaemonSeen): boolean => nodes.some((node) => node.protected);

/** Simulated daemons have the version of their simulator, and no package. */
export function planUpgrade(
  daemons: readonly DaemonSeen[],
  { target, canary }: { target: string; canary: string | null },
): Plan {
  const leftOut: LeftOut[] = [];
  const steps: Planned[] = [];
  for (const one of daemons) {
    const { cluster, daemon, nodes } = one;
    if (nodes.length === 0 || nodes.some(({ simulated }) => simulated)) continue;
    const reason = whyNot(one, target);
    if (reason) leftOut.push({ cluster, daemon, ...reason });
    else steps.push({ ...one, before: nodes.find(({ version }) => version)?.version ?? 'unknown' });
  }
  const isCanary = (one: DaemonSeen): boolean =>
    canary !== null && (one.daemon === canary || nameOf(one) === canary);
  steps.sort(
    (a, b) =>
      Number(isCanary(b)) - Number(isCanary(a)) ||
      Number(isProtected(a)) - Number(isProtected(b)) ||
      guestsOf(a) - guestsOf(b) ||
      nameOf(a).localeCompare(nameOf(b)),
  );
  return { steps, leftOut };
}

/** What is worse than before, in words; null when all is well. */
export function worseThan(before: NodeSeen, now: NodeSeen): string | null {
  if (now.state !== 'awake' && now.state !== before.state) return `${now.id} is ${now.state}`;
  if (now.driver !== before.driver) {
    return `${now.id} was driven by ${before.driver ?? 'nothing'} and is by ${now.driver ?? 'nothing'}`;
  }
  const lost = before.capabilities.filter((one) => !now.capabilities.includes(one));
  if (lost.length > 0) return `${now.id} can no longer do ${lost.join(', ')}`;
  if (before.guestCount !== null && now.guestCount === null) {
    return `${now.id} no longer shows its guests`;
  }
  return null;
}
