import { describe, expect, it } from 'vitest';
import { may } from '../../broker/access.ts';
import { mosquittoFiles, mosquittoHash } from '../../broker/acl.ts';
import { nodeToServer, serverToNode, serverTopic, topicOf } from '../../broker/contract/topics.ts';
import type { Ownership } from '../../broker/port.ts';

const owner = (daemon: string, over: Partial<Ownership> = {}): Ownership => ({
  cluster: 'home',
  daemon,
  simulated: false,
  enrolling: false,
  nodes: new Set([daemon]),
  ...over,
});
const server = { username: 'kernreaktor-server', mqttHash: '$7$s' };

/** The rules of one user as Mosquitto reads them. */
const rulesOf = (acl: string, user: string): string[] =>
  acl
    .split('\n\n')
    .map((block) => block.split('\n'))
    .find(([head]) => head === `user ${user}`)
    ?.slice(1)
    .filter((line) => line !== '') ?? [];

describe('mosquittoHash', () => {
  it('is the PBKDF2 form mosquitto_passwd writes, and the same for the same salt', () => {
    const salt = Buffer.from('0123456789ab');
    const hash = mosquittoHash('secret', salt);
    expect(hash).toMatch(/^\$7\$101\$MDEyMzQ1Njc4OWFi\$[A-Za-z0-9+/]{86}==$/);
    expect(mosquittoHash('secret', salt)).toBe(hash);
    expect(mosquittoHash('other', salt)).not.toBe(hash);
  });
});

describe('mosquittoFiles', () => {
  it('writes exactly the topics access.ts allows', () => {
    const party = owner('api', { nodes: new Set(['pve1', 'pve2']) });
    const { acl } = mosquittoFiles([{ ownership: party, mqttHash: '$7$a' }], server);
    const rules = rulesOf(acl, 'home/api');
    const expected = ['pve1', 'pve2', 'pve3']
      .flatMap((node) => [...nodeToServer, ...serverToNode].map((n) => topicOf('home', node, n)))
      .flatMap((topic) => [
        ...(may(party, 'publish', topic) ? [`topic write ${topic}`] : []),
        ...(may(party, 'subscribe', topic) ? [`topic read ${topic}`] : []),
      ]);
    expect(expected).toHaveLength(2 * 11);
    expect(rules.toSorted()).toEqual([...expected, `topic read ${serverTopic}`].toSorted());
    expect(rules.some((rule) => /[+#$]/.test(rule))).toBe(false);
  });

  it('gives an enrolling user nothing but its enrolment', () => {
    const ownership = owner('new', { enrolling: true });
    const { acl } = mosquittoFiles([{ ownership, mqttHash: '$7$a' }], server);
    expect(rulesOf(acl, 'home/new')).toEqual([
      `topic read ${serverTopic}`,
      'topic write kr/v1/home/new/enrol',
      'topic read kr/v1/home/new/enrolled',
    ]);
  });

  it('lists every user once, sorted, the server first', () => {
    const users = ['b', 'a', 'c'].map((id) => ({ ownership: owner(id), mqttHash: `$7$${id}` }));
    const { passwords } = mosquittoFiles(users, server);
    expect(passwords).toBe('kernreaktor-server:$7$s\nhome/a:$7$a\nhome/b:$7$b\nhome/c:$7$c\n');
  });
});
