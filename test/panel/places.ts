/** Every page of the panel by name and address, for what looks at all of them. */

export type Place = { name: string; hash: string };

/** `ids`: one decision and one command that are there. */
export const places = (ids: { decision: string; command: string }): Place[] => [
  { name: 'fleet', hash: '#/' },
  { name: 'node', hash: '#/nodes/home/nuc1' },
  { name: 'saving', hash: '#/saving/home/xeon' },
  { name: 'guests', hash: '#/guests' },
  { name: 'guest', hash: '#/guests/home/102' },
  { name: 'guests-new', hash: '#/guests/new' },
  { name: 'decisions', hash: '#/decisions' },
  { name: 'decision', hash: `#/decisions/${ids.decision}` },
  { name: 'policies', hash: '#/policies' },
  { name: 'policy', hash: '#/policies/save-power' },
  { name: 'activity', hash: '#/activity' },
  { name: 'command', hash: `#/activity/${ids.command}` },
  { name: 'audit', hash: '#/activity/audit' },
  { name: 'begin', hash: '#/begin' },
  { name: 'begin-proxmox', hash: '#/begin/proxmox' },
  { name: 'begin-host', hash: '#/begin/host' },
  { name: 'begin-demo', hash: '#/begin/demo' },
  { name: 'settings-nodes', hash: '#/settings/nodes' },
  { name: 'settings-engine', hash: '#/settings/engine' },
  { name: 'settings-house', hash: '#/settings/house' },
  { name: 'settings-quotas', hash: '#/settings/quotas' },
  { name: 'settings-sign-in', hash: '#/settings/sign-in' },
  { name: 'settings-accounts', hash: '#/settings/accounts' },
  { name: 'settings-notices', hash: '#/settings/notices' },
  { name: 'settings-backups', hash: '#/settings/backups' },
];
