/**
 * docs/asyncapi.yaml, generated from the protocol page and nothing else: every channel, message
 * and schema below is read from broker/contract. Pure; the test compares the committed file.
 */
import { stringify } from 'yaml';
import { z } from 'zod';
import { GrantContent } from './contract/command.ts';
import { EnvelopeHead, messages } from './contract/messages.ts';
import { ServerContent, Signed, SyncContent } from './contract/server.ts';
import { type TopicName, serverTopic } from './contract/topics.ts';

const names = Object.keys(messages) as TopicName[];
const capital = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1);

/**
 * What a sender may write: values with a default may be left out. The one recursive schema of the
 * contract is "any JSON value", which zod puts beside the schema; here it is a component.
 */
function jsonSchema(schema: z.ZodType): object {
  const {
    $schema: _,
    definitions: __,
    ...rest
  } = z.toJSONSchema(schema, {
    target: 'draft-7',
    io: 'input',
  });
  const text = JSON.stringify(rest);
  return JSON.parse(text.replaceAll('#/definitions/__schema0', '#/components/schemas/json'));
}

const payloadOf = (name: TopicName): object =>
  jsonSchema(z.strictObject({ ...EnvelopeHead.shape, body: messages[name].body }));

const ref = (path: string): { $ref: string } => ({ $ref: `#/${path}` });
const mqtt = (qos: 0 | 1, retain: boolean): object => ({
  mqtt: { qos, retain, bindingVersion: '0.2.0' },
});

const channel = (name: TopicName): object => ({
  address: `kr/v1/{cluster}/{node}/${name}`,
  parameters: {
    cluster: ref('components/parameters/cluster'),
    node: ref('components/parameters/node'),
  },
  messages: { [name]: ref(`components/messages/${name}`) },
});

/** Written from the server's side: it receives what nodes send. */
const operation = (name: TopicName): object => ({
  action: messages[name].sender === 'node' ? 'receive' : 'send',
  channel: ref(`channels/${name}`),
  summary: messages[name].summary,
  messages: [ref(`channels/${name}/messages/${name}`)],
  bindings: mqtt(messages[name].qos, false),
});

const byName = <V>(value: (name: TopicName) => V): Record<string, V> =>
  Object.fromEntries(names.map((name) => [name, value(name)]));

function document(): object {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Kernreaktor',
      version: '1.0.0',
      description:
        'MQTT 3.1.1 between daemons and the server. User name and client id are ' +
        '`<cluster>/<daemon>`, sessions are clean, topics exact, QoS at most 1. Generated from ' +
        'broker/contract; do not edit.',
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    channels: {
      server: {
        address: serverTopic,
        description: 'The only retained message: who the server is, and what is on hold.',
        messages: { server: ref('components/messages/server') },
      },
      ...byName(channel),
    },
    operations: {
      sendServer: {
        action: 'send',
        channel: ref('channels/server'),
        summary: 'Signed self-description of the server',
        messages: [ref('channels/server/messages/server')],
        bindings: mqtt(1, true),
      },
      ...Object.fromEntries(
        names.map((name) => {
          const verb = messages[name].sender === 'node' ? 'receive' : 'send';
          return [`${verb}${capital(name)}`, operation(name)];
        }),
      ),
    },
    components: {
      parameters: {
        cluster: { description: 'Cluster id; server, daemons and sys are reserved' },
        node: { description: 'Node id, unique in its cluster' },
      },
      messages: {
        server: {
          summary: 'Signed; its content is the schema serverContent',
          payload: jsonSchema(Signed),
        },
        ...byName((name) => ({ summary: messages[name].summary, payload: payloadOf(name) })),
      },
      schemas: {
        json: { description: 'Any JSON value' },
        serverContent: jsonSchema(ServerContent),
        syncContent: jsonSchema(SyncContent),
        grantContent: jsonSchema(GrantContent),
      },
    },
  };
}

export const asyncapiYaml = (): string =>
  stringify(document(), { lineWidth: 100, aliasDuplicateObjects: false });
