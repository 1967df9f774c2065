/** What a running server says of its nodes, judged for what keeps them from being managed. Pure. */
import { fine, type Finding, note, wrong } from './finding.ts';

export type Link = {
  name: string;
  mac: string;
  broadcast: string | null;
  wakeOnMagic: boolean | null;
};

export type NodeSeen = {
  cluster: string;
  id: string;
  state: string;
  online: boolean;
  protected: boolean;
  simulated: boolean;
  localHold: boolean;
  /** Its clock against this machine's, as its newest sample says. */
  clockOffsetMs: number | null;
  links: readonly Link[] | null;
  /** By whom it could be woken now. */
  ways: readonly { executor: string; by: string }[];
  isProven: boolean;
  /** Whether its driver can switch it off at all. */
  canSleep: boolean;
};

export type HouseSeen = {
  holds: readonly string[];
  unready: readonly string[];
  unknownParts: readonly string[];
  backupProblem: string | null;
  newestBackupAgeMs: number | null;
  nodes: readonly NodeSeen[];
};

const clockOffsetMaxMs = 2_000;
const backupOldMs = 3_600_000;

const nameOf = ({ cluster, id }: NodeSeen): string => `${cluster}/${id}`;

function* reachOf(node: NodeSeen): Generator<Finding> {
  const said = { check: 'fleet', subject: nameOf(node) } as const;
  const { clockOffsetMs } = node;
  if (node.state === 'lost' || node.state === 'unknown') {
    const detail = `is ${node.state}: its daemon is not heard`;
    const fix = `systemctl status kernreaktor-agent; journalctl -u kernreaktor-agent -n 50   # on ${node.id}`;
    yield wrong({ ...said, detail }, fix);
  }
  if (node.localHold) {
    const detail = 'does nothing: its own HOLD file stands';
    yield note({ ...said, detail }, `rm /etc/kernreaktor/HOLD   # on ${node.id}`);
  }
  if (node.state === 'awake' && clockOffsetMs !== null) {
    const seconds = Math.round(clockOffsetMs / 1_000);
    if (Math.abs(clockOffsetMs) > clockOffsetMaxMs) {
      const detail = `its clock is ${seconds} s ${seconds > 0 ? 'ahead' : 'behind'}`;
      const fix = `timedatectl set-ntp true   # on ${node.id}`;
      yield wrong({ check: 'clock', subject: nameOf(node), detail }, fix);
    }
  }
}

function* wakeOf(node: NodeSeen): Generator<Finding> {
  const said = { check: 'wake', subject: nameOf(node) } as const;
  const { links } = node;
  if (links === null || node.state !== 'awake') return;
  const wakeable = links.filter(({ wakeOnMagic }) => wakeOnMagic === true);
  const off = links.filter(({ wakeOnMagic }) => wakeOnMagic === false);
  const [first] = off;
  if (links.length === 0) {
    const detail = 'tells no network card: it cannot be woken over the network';
    yield wrong({ ...said, detail }, `ip -br link   # on ${node.id}: is a physical card up?`);
    return;
  }
  if (wakeable.length === 0 && first) {
    const detail = `Wake-on-LAN is off on ${off.map(({ name }) => name).join(', ')}`;
    yield wrong(
      { ...said, detail },
      `ethtool -s ${first.name} wol g   # on ${node.id}, now`,
      `echo 'ACTION=="add", SUBSYSTEM=="net", NAME=="${first.name}", RUN+="/usr/sbin/ethtool -s ${first.name} wol g"' > /etc/udev/rules.d/81-wol.rules   # and after each boot`,
    );
    return;
  }
  if (wakeable.length === 0) {
    const detail = 'nobody can tell whether Wake-on-LAN is on';
    const [card] = links;
    yield note(
      { ...said, detail },
      `ethtool ${card?.name ?? 'eno1'} | grep Wake-on   # on ${node.id}`,
    );
  }
  if (node.ways.length === 0) {
    const subnets = wakeable.map(({ broadcast }) => broadcast ?? 'no address').join(', ');
    const detail = `no awake daemon shares its network (${subnets}): a magic packet crosses no VLAN`;
    const fix = `kernreaktor enrol ${node.cluster} <a machine of that network>   # or name ipmi, redfish or a plug: docs/wakers.md`;
    yield wrong({ ...said, detail }, fix);
    return;
  }
  if (!node.isProven) {
    const detail = 'is not proven to wake, so it is never switched off by itself';
    yield note({ ...said, detail }, `kernreaktor prove-wake ${nameOf(node)}`);
    return;
  }
  yield fine({ ...said, detail: `is proven to wake, by ${node.ways.length} ways` });
}

function* houseOf(seen: HouseSeen): Generator<Finding> {
  for (const name of seen.unready) {
    const said = {
      check: 'stores',
      subject: name,
      detail: 'the server says it is not ready',
    } as const;
    yield wrong(said, 'journalctl -u kernreaktor-server -n 50');
  }
  for (const where of seen.holds) {
    const said = { check: 'fleet', subject: where, detail: 'is on HOLD: nothing new is begun' };
    const target = where === 'everything' ? '' : `${where} `;
    yield note({ ...said, check: 'fleet' }, `kernreaktor hold ${target}--release`);
  }
  if (seen.unknownParts.length > 0) {
    const parts = seen.unknownParts.join(', ');
    const detail = `nobody knows on which machine it runs (${parts}), so none is switched off`;
    const fix = 'KR_OWN_HOUSE=<cluster>/<node>   # or <cluster>/<node>/<guest>, or elsewhere';
    yield wrong({ check: 'fleet', subject: 'own house', detail }, fix);
  }
  const { backupProblem, newestBackupAgeMs } = seen;
  if (backupProblem !== null) {
    const said = { check: 'host', subject: 'backup', detail: backupProblem } as const;
    yield wrong(said, 'KR_BACKUP_DIR=<a folder with room>   # then: kernreaktor backup');
  } else if (newestBackupAgeMs === null || newestBackupAgeMs > backupOldMs) {
    const detail = 'there is none of the last hour';
    yield note({ check: 'host', subject: 'backup', detail }, 'kernreaktor backup');
  }
}

export function examineFleet(seen: HouseSeen): Finding[] {
  const real = seen.nodes.filter(({ simulated }) => !simulated);
  const sleepers = real.filter((node) => node.canSleep && !node.protected);
  return [
    ...houseOf(seen),
    ...real.flatMap((node) => [...reachOf(node)]),
    ...sleepers.flatMap((node) => [...wakeOf(node)]),
    fine({ check: 'fleet', subject: 'nodes', detail: `${real.length} looked at` }),
  ];
}
