import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Deed, may, type Party, serverFilters } from '../../broker/access.ts';
import { nodeToServer, serverToNode, serverTopic, topicOf } from '../../broker/contract/topics.ts';

const ids = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,10}$/);
const clusters = ids.filter((id) => !['server', 'daemons', 'sys'].includes(id));
const owners = fc.record({
  cluster: clusters,
  daemon: ids,
  simulated: fc.boolean(),
  nodes: fc.uniqueArray(ids, { minLength: 1, maxLength: 5 }).map((nodes) => new Set(nodes)),
  enrolling: fc.boolean(),
});
const deeds = fc.constantFrom<Deed>('publish', 'subscribe', 'receive');
const every = [...nodeToServer, ...serverToNode];
const home = {
  cluster: 'home',
  daemon: 'pve1',
  simulated: false,
  nodes: new Set(['pve1']),
  enrolling: false,
};

describe('may', () => {
  it('lets a daemon say only what nodes say and hear only what the server says, for its nodes', () => {
    fc.assert(
      fc.property(owners, deeds, clusters, ids, (party, deed, cluster, node) => {
        const isOwn = cluster === party.cluster && party.nodes.has(node);
        for (const name of every) {
          const isSent = (nodeToServer as readonly string[]).includes(name);
          const isEnrolment = name.startsWith('enrol');
          const isAllowedName = isSent === (deed === 'publish') && isEnrolment === party.enrolling;
          expect(may(party, deed, topicOf(cluster, node, name))).toBe(isOwn && isAllowedName);
        }
      }),
    );
  });

  it('denies the full matrix of 64 daemons on the topics of every other', () => {
    const parties = Array.from({ length: 64 }, (_, index) => ({
      ...home,
      daemon: `n${index}`,
      nodes: new Set([`n${index}`]),
    }));
    const allowed = parties.flatMap((party) =>
      parties.flatMap(({ daemon }) =>
        every.flatMap((name) =>
          (['publish', 'subscribe', 'receive'] as const).filter(
            (deed) => may(party, deed, topicOf('home', daemon, name)) && party.daemon !== daemon,
          ),
        ),
      ),
    );
    expect(allowed).toEqual([]);
    expect(
      parties.every((party) => may(party, 'publish', topicOf('home', party.daemon, 'hello'))),
    ).toBe(true);
  });

  it('lets every client hear the server and none speak as it', () => {
    fc.assert(
      fc.property(owners, (party) => {
        expect(may(party, 'subscribe', serverTopic)).toBe(true);
        expect(may(party, 'receive', serverTopic)).toBe(true);
        expect(may(party, 'publish', serverTopic)).toBe(false);
      }),
    );
  });

  it('grants no daemon any filter with a wildcard, $SYS or $share', () => {
    const part = fc.constantFrom(
      'kr',
      'v1',
      '+',
      '#',
      'home',
      'pve1',
      '$SYS',
      '$share',
      '',
      'sync',
    );
    const filters = fc
      .array(part, { minLength: 1, maxLength: 7 })
      .map((parts) => parts.join('/'))
      .filter((filter) => /[+#$]/.test(filter));
    fc.assert(
      fc.property(filters, deeds, fc.boolean(), (filter, deed, enrolling) => {
        expect(may({ ...home, enrolling }, deed, filter)).toBe(false);
      }),
    );
  });

  it('never throws and denies by default, whatever the topic', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), deeds, (topic, deed) => {
        expect(may(home, deed, topic)).toBe(false);
        expect(may('server', deed, topic)).toBe(false);
      }),
    );
  });

  it('gives the server exactly its six filters and the other direction', () => {
    const server: Party = 'server';
    expect(serverFilters).toHaveLength(6);
    expect(serverFilters.every((filter) => may(server, 'subscribe', filter))).toBe(true);
    expect(may(server, 'subscribe', '#')).toBe(false);
    expect(may(server, 'subscribe', 'kr/v1/+/+/sync')).toBe(false);
    expect(may(server, 'publish', topicOf('home', 'pve1', 'grant'))).toBe(true);
    expect(may(server, 'publish', topicOf('home', 'pve1', 'report'))).toBe(false);
    expect(may(server, 'receive', topicOf('home', 'pve1', 'report'))).toBe(true);
    expect(may(server, 'publish', serverTopic)).toBe(true);
  });
});
