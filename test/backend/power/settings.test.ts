import { describe, expect, it } from 'vitest';
import { checkConfigFile, configSchema } from '../../../backend/config-file.ts';
import { powerPlan } from '../../../backend/power/settings.ts';

const nodes = (text: string): string => `power:
  broker: {url: "mqtt://broker.lan:1883"}
  classes:
    mini: {idleWatts: 8, loadedWatts: 28}
clusters:
  home:
    nodes:
      pve1: {power: ${text}}
`;

function topicOf(plug: string): string {
  const checked = checkConfigFile(nodes(`{plug: ${plug}}`));
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems));
  const [node] = powerPlan(checked.file.power, checked.file.clusters).nodes;
  return `${node?.plug?.topic} ${node?.plug?.path.join('.')} ${node?.plug?.unit}`;
}

describe('the power of nodes in kernreaktor.yaml', () => {
  it.each([
    ['{kind: shelly-gen1, device: shellyplug-s-1}', 'shellies/shellyplug-s-1/relay/0/power  W'],
    ['{kind: shelly-gen2, device: a/plug, channel: 1}', 'a/plug/status/switch:1 apower W'],
    ['{kind: tasmota, device: rack}', 'tele/rack/SENSOR ENERGY.Power W'],
    ['{kind: zigbee2mqtt, device: big server}', 'zigbee2mqtt/big server power W'],
    ['{kind: mqtt, topic: meter/1, path: "a[0].w", unit: kW}', 'meter/1 a.0.w kW'],
  ])('knows where %s speaks', (plug, expected) => {
    expect(topicOf(plug)).toBe(expected);
  });

  const wrong: [what: string, text: string, expected: string][] = [
    [
      'an unknown kind',
      '{plug: {kind: fritz, device: x}}',
      '8:35 clusters.home.nodes.pve1.power.plug.kind: use shelly-gen1',
    ],
    [
      'a wildcard',
      '{plug: {kind: mqtt, topic: "a/#"}}',
      '8:48 clusters.home.nodes.pve1.power.plug.topic: name one topic',
    ],
    ['our own topics', '{plug: {kind: mqtt, topic: kr/v1/server}}', 'plug.topic: topics below kr/'],
    [
      'a path with a hole',
      '{plug: {kind: mqtt, topic: a, path: a..b}}',
      'plug.path: write keys and indices',
    ],
    ['another unit', '{plug: {kind: mqtt, topic: a, unit: A}}', 'plug.unit: use W, kW or mW'],
    [
      'an unknown class',
      '{class: big}',
      'power.class: names no class of power.classes (spec-2-socket, spec-1-socket, mini)',
    ],
    ['a misspelt key', '{clas: mini}', 'power.clas: is not a known key'],
  ];
  it.each(wrong)('names line, column and field of %s', (_what, text, expected) => {
    const checked = checkConfigFile(nodes(text));
    const said = checked.ok
      ? []
      : checked.problems.map((one) => `${one.line}:${one.column} ${one.field}: ${one.hint}`);
    expect(said).toEqual([expect.stringContaining(expected)]);
    expect(said[0]).toMatch(/^8:\d+ /);
  });

  it('wants a broker for a plug, a meter of its own for every node, and points in order', () => {
    const text = `power:
  classes: {mini: {idleWatts: 30, loadedWatts: 8}, curve: {watts: [1, 2]}}
clusters:
  home:
    nodes:
      pve1: {power: {plug: {kind: tasmota, device: a}}}
      pve2: {power: {plug: {kind: tasmota, device: a}}}
`;
    const first = checkConfigFile(text);
    expect(first.ok ? [] : first.problems.map(({ field, hint }) => `${field}: ${hint}`)).toEqual([
      'power.classes.mini.loadedWatts: must not be less than idleWatts',
      'power.classes.curve.watts: write eleven watts: at 0, 10, 20 .. 100 % of the cpu',
    ]);
    const rest = checkConfigFile(text.replace(/ {2}classes.*\n/, '  {}\n'));
    expect(rest.ok ? [] : rest.problems.map(({ field, hint }) => `${field}: ${hint}`)).toEqual([
      'clusters.home.nodes.pve1.power.plug: power.broker must name the broker that this plug publishes to',
      'clusters.home.nodes.pve2.power.plug: power.broker must name the broker that this plug publishes to',
      'clusters.home.nodes.pve2.power.plug: is the plug of home/pve1 already',
    ]);
  });

  it('stands in the schema for editors', () => {
    const schema = JSON.stringify(configSchema());
    for (const name of ['shelly-gen2', 'idleWatts', 'maxAgeMs', 'caFile']) {
      expect(schema).toContain(name);
    }
  });
});
