import { describe, expect, it } from 'vitest';
import type { Message } from '../../../broker/contract/messages.ts';
import type { DaemonClientOptions } from '../../../broker/client.ts';
import { checkConfigFile } from '../../../backend/config-file.ts';
import { shippedClasses, wattsAt } from '../../../backend/power/curve.ts';
import { startPlugs } from '../../../backend/power/plugs.ts';
import { createPower } from '../../../backend/power/power.ts';
import { parsePath, readWatts } from '../../../backend/power/reading.ts';
import { powerPlan } from '../../../backend/power/settings.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { helloBody, message, nodeValues, telemetryBody } from '../../support/messages.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const plugOf = (at = '', unit: 'W' | 'kW' | 'mW' = 'W') => ({
  topic: 't',
  path: parsePath(at) ?? [],
  unit,
  maxAgeMs: 1,
});

describe('the model of a class', () => {
  it('is linear between the points of its curve and flat beyond its ends', () => {
    expect(wattsAt([10, 30], 0.5)).toBe(20);
    expect(wattsAt([10, 30], -1)).toBe(10);
    expect(wattsAt([10, 30], 7)).toBe(30);
    const curve = shippedClasses['spec-2-socket'] ?? [];
    expect(curve.map((_, index) => wattsAt(curve, index / 10))).toEqual(curve);
    expect(wattsAt(curve, 0.05)).toBeCloseTo((58.4 + 98) / 2);
  });
});

describe('a message of a plug', () => {
  it.each([
    ['the plain number of a Shelly of the first generation', '', '23.40', 23.4],
    ['the status of a later Shelly', 'apower', '{"id":0,"output":true,"apower":8.9}', 8.9],
    ['the telemetry of Tasmota', 'ENERGY.Power', '{"ENERGY":{"Total":1.9,"Power":9}}', 9],
    ['one channel of Tasmota', 'ENERGY.Power[1]', '{"ENERGY":{"Power":[3,47]}}', 47],
    ['the state of zigbee2mqtt', 'power', '{"linkquality":99,"power":112.5}', 112.5],
    ['a number written as text', 'w', '{"w":" 12 "}', 12],
    ['a key with a colon', '$.params.switch:0.apower', '{"params":{"switch:0":{"apower":1}}}', 1],
    ['a true zero', 'power', '{"power":0}', 0],
  ])('is understood as %s', (_what, at, text, watts) => {
    expect(readWatts(plugOf(at), bytes(text))).toBe(watts);
  });

  it('is converted from its unit', () => {
    expect(readWatts(plugOf('', 'kW'), bytes('0.123'))).toBe(123);
    expect(readWatts(plugOf('', 'mW'), bytes('4200'))).toBe(4.2);
  });

  it.each([
    ['', 'on'],
    ['', ''],
    ['', '12 W'],
    ['power', '{"power":null}'],
    ['power', '{"power":"NaN"}'],
    ['power', '{"power":-4}'],
    ['power', '{"power":100001}'],
    ['power', '{"voltage":230}'],
    ['power', 'not json'],
    ['__proto__.x', '{}'],
    ['a.b', '{"a":3}'],
    ['power', `{"power":1,"x":"${'x'.repeat(20_000)}"}`],
  ])('is none at %j in %j, and never 0', (at, text) => {
    expect(readWatts(plugOf(at), bytes(text))).toBeNull();
  });

  it('has no path with an empty step', () => {
    expect(parsePath('a..b')).toBeNull();
    expect(parsePath('a[x]')).toBeNull();
  });
});

const file = `
power:
  broker: {url: "mqtt://127.0.0.1:1"}
  classes:
    mini: {idleWatts: 8, loadedWatts: 28}
clusters:
  home:
    nodes:
      plugged: {power: {plug: {kind: shelly-gen2, device: shelly-1}, class: mini}}
      guessed: {power: {class: mini}}
      bare: {}
`;

function planOf(text: string) {
  const checked = checkConfigFile(text);
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems));
  return powerPlan(checked.file.power, checked.file.clusters);
}

function house(facts: Partial<NodeFacts> | null = null) {
  const clock = virtualClock();
  const random = seededRandom(1);
  const log = memoryLog();
  let opened: DaemonClientOptions | undefined;
  const plan = planOf(file);
  const plugs = startPlugs(plan, {
    openClient(options) {
      opened = options;
      return {
        publish: async () => undefined,
        isConnected: () => true,
        end: async () => undefined,
      };
    },
    clock,
    random,
    newId: idsOf(clock, random),
    log,
  });
  const factsOf = () => (facts === null ? null : NodeFacts.parse(facts));
  const power = createPower({ plan, plugs, factsOf });
  const sample = (node: string, powerWatts: number | null, atMs = clock.wallMs()) => {
    const body = telemetryBody({
      sampledAtMs: atMs,
      node: nodeValues({ cpuRatio: 0.5, powerWatts }),
    });
    const sent: Message<'telemetry'> = message('telemetry', body, { node });
    power.enrich(sent);
    const { powerWatts: measured, powerEstimatedWatts: estimated } = sent.body.node;
    return { measured, estimated, source: sent.body.powerSource ?? null };
  };
  const says = (text: string, isRetained = false) =>
    opened?.onMessage('shelly-1/status/switch:0', bytes(text), isRetained);
  return { clock, log, plugs, power, sample, says, topics: () => opened?.subscriptions };
}

describe('the watts of a sample', () => {
  it('are those of the plug, once it has spoken, and of the model before', () => {
    const { sample, says, topics, plugs } = house();
    expect(topics()).toEqual(['shelly-1/status/switch:0']);
    expect(sample('plugged', null)).toEqual({ measured: null, estimated: 18, source: 'model' });
    says('{"apower":41.5}');
    expect(sample('plugged', null)).toEqual({ measured: 41.5, estimated: null, source: 'plug' });
    expect(sample('guessed', null)).toEqual({ measured: null, estimated: 18, source: 'model' });
    expect(plugs.figures()).toEqual({ connected: 1, readings: 1, readingsRefused: 0 });
  });

  it('stay what a program on the host measured, whatever the plug says', () => {
    const { sample, says } = house({ powerSource: 'program' });
    says('{"apower":41.5}');
    expect(sample('plugged', 52)).toEqual({ measured: 52, estimated: null, source: 'program' });
  });

  it('are those of the plug rather than of the processor alone', () => {
    const { sample, says } = house({ powerSource: 'rapl' });
    expect(sample('plugged', 12)).toEqual({ measured: 12, estimated: null, source: 'rapl' });
    says('{"apower":41.5}');
    expect(sample('plugged', 12)).toEqual({ measured: 41.5, estimated: null, source: 'plug' });
  });

  it('are never taken from a reading that is too old, retained, or of another time', async () => {
    const { clock, sample, says } = house();
    says('{"apower":41.5}', true);
    expect(sample('plugged', null).source).toBe('model');
    says('{"apower":41.5}');
    expect(sample('plugged', null, clock.wallMs() - 3_600_000).source).toBe('model');
    await clock.advance(600_001);
    expect(sample('plugged', null).source).toBe('model');
  });

  it('are left alone where nothing is mapped, and where the load is not known', () => {
    const { sample, power } = house();
    expect(sample('bare', null)).toEqual({ measured: null, estimated: null, source: null });
    expect(sample('stranger', 7)).toEqual({ measured: 7, estimated: null, source: null });
    const body = telemetryBody({ node: nodeValues({ cpuRatio: null, powerWatts: null }) });
    const sent = message('telemetry', body, { node: 'guessed' });
    power.enrich(sent);
    expect(sent.body.node.powerEstimatedWatts).toBeNull();
  });

  it('count what the plug said that is no power, and say it once', () => {
    const { says, plugs, log } = house();
    says('{"output":true}');
    says('{"output":false}');
    expect(plugs.figures()).toEqual({ connected: 1, readings: 0, readingsRefused: 2 });
    expect(log.lines.filter(({ message: said }) => said.includes('no watts'))).toHaveLength(1);
  });
});

it('tells the engine what a machine of its class draws, unless its daemon knows better', () => {
  const { power } = house();
  const known = NodeFacts.parse({ wattsIdle: 5 });
  const hello = message('hello', helloBody({ facts: known }), { node: 'guessed' });
  power.enrich(hello);
  expect(hello.body.facts).toMatchObject({ wattsIdle: 5, wattsLoaded: 28 });
});
