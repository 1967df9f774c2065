/**
 * The fake tools about a host and its cluster rather than a guest: votes, HA maintenance, waking,
 * and what `ethtool` says of its link.
 */
import { wakeByMac } from '../world/node-effects.ts';
import type { WorldNode } from '../world/model.ts';
import { haGuestsOn } from './ha-answers.ts';
import { type Asked, runLater } from './jobs.ts';
import { isUp, nodeOf, nodesOf, type Pve, quorumOf, requireQuorum, ToolFailure } from './pve.ts';

function membership(pve: Pve, here: WorldNode): string {
  return nodesOf(pve)
    .map((node, index) => {
      if (node.power !== 'on' && node.power !== 'stopping') return '';
      const flags = pve.qdevice === null ? '' : `${pve.qdevice.flags.padStart(10)} `;
      const id = `0x${(index + 1).toString(16).padStart(8, '0')}`;
      const local = node === here ? ' (local)' : '';
      return `${id} ${String(node.spec.votes).padStart(10)} ${flags}${node.spec.address}${local}\n`;
    })
    .join('');
}

export function pvecmStatus({ pve, here, voice }: Asked): void {
  const quorum = quorumOf(pve, here);
  if (quorum === null) {
    const file = '/etc/pve/corosync.conf';
    const why = `Error: Corosync config '${file}' does not exist - is this node part of a cluster?`;
    throw new ToolFailure(why, 2);
  }
  const extra = pve.qdevice?.votes ?? 0;
  const expected = quorum.expectedVotes + (pve.qdevice === null ? 0 : 1);
  const total = quorum.totalVotes + extra;
  const needed = Math.floor(expected / 2) + 1;
  const isQuorate = total >= needed;
  const flags = [...(isQuorate ? ['Quorate'] : []), ...(pve.qdevice ? ['Qdevice'] : [])].join(' ');
  const device = pve.qdevice === null ? '' : `0x00000000 ${String(extra).padStart(10)}  Qdevice\n`;
  voice.out(`Quorum information
------------------
Nodes:            ${nodesOf(pve).length}
Quorate:          ${isQuorate ? 'Yes' : 'No'}

Votequorum information
----------------------
Expected votes:   ${expected}
Highest expected: ${expected}
Total votes:      ${total}
Quorum:           ${needed}${isQuorate ? '' : ' Activity blocked'}
Flags:            ${flags}

Membership information
----------------------
    Nodeid      Votes    Qdevice Name
${membership(pve, here)}${device}`);
}

export async function haManager({ pve, here, voice, words }: Asked): Promise<void> {
  const [command, what, wanted, name = ''] = words;
  if (command !== 'crm-command' || what !== 'node-maintenance') {
    throw new ToolFailure(`ERROR: unknown command 'ha-manager ${words.join(' ')}'`);
  }
  requireQuorum(pve, here);
  nodeOf(pve, name);
  await voice.log({ kind: `maintenance-${wanted}`, id: name, upid: null });
  if (wanted !== 'enable') return void pve.maintenance.delete(name);
  pve.maintenance.set(name, true);
  const target = nodesOf(pve).find((other) => other.spec.node !== name && isUp(other));
  if (target === undefined) return;
  for (const guest of haGuestsOn(pve, name)) {
    const args = { targetNode: target.spec.node, online: true, withLocalDisks: false };
    const type = guest.spec.kind === 'vm' ? 'qmigrate' : 'vzmigrate';
    void runLater(pve, { type, guest, action: { kind: 'guest.migrate', args } });
  }
}

export async function pvenode({ pve, here, voice, words }: Asked): Promise<void> {
  const [command, name = ''] = words;
  if (command !== 'wakeonlan') throw new ToolFailure(`ERROR: unknown command 'pvenode ${command}'`);
  const node = nodeOf(pve, name);
  if (node === here) throw new ToolFailure(`'${name}' is local node, cannot wake my self!`);
  await voice.log({ kind: 'wakeonlan', id: name, upid: null });
  pve.live.change((world) => wakeByMac(world, [node.spec.mac], null));
  voice.out(`${node.spec.mac}\n`);
}

export function ethtool({ pve, here, voice, words }: Asked): void {
  const [link = ''] = words;
  if (link !== 'eno1') throw new ToolFailure(`netlink error: No such device`, 75);
  voice.out(`Settings for ${link}:
\tSupports Wake-on: pumbg
\tWake-on: ${pve.wakeOn(here.spec.node)}
\tLink detected: yes
`);
}
