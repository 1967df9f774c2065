/**
 * The watts of a host from its plug to the energy board: plugs that mosquitto_pub plays speak to a
 * real Mosquitto, kernreaktor.yaml maps one to this host, and what the API, /metrics and a
 * VictoriaMetrics then show is measured or, before the plug has spoken, marked as estimated.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { nodeIdOfHost } from '../../broker/contract/ids.ts';
import { boardsOf } from '../grafana/files.ts';
import { instant } from '../grafana/victoria.ts';
import {
  mosquittoTools,
  type Server,
  startMosquitto,
  startVictoriaMetrics,
  until,
} from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';

type NodeAnswer = {
  powerWatts: number | null;
  powerEstimatedWatts: number | null;
  powerSource: string | null;
};

const run = promisify(execFile);
const node = nodeIdOfHost(hostname());
const password = 'the password of the meters';
let folder: string;
let mosquitto: Server;
let victoria: Server;
let stack: Stack;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-power-'));
  victoria = await startVictoriaMetrics();
  mosquitto = await startMosquitto(['allow_anonymous true']);
  await writeFile(join(folder, 'password'), `${password}\n`, { mode: 0o600 });
  await writeFile(
    join(folder, 'kernreaktor.yaml'),
    `power:
  broker: {url: "${mosquitto.url}", user: kr, passwordFile: ${join(folder, 'password')}}
  classes: {box: {idleWatts: 30, loadedWatts: 30}}
clusters:
  local:
    nodes:
      ${node}: {power: {plug: {kind: tasmota, device: rack}, class: box}}
`,
  );
  await publish('tele/rack/SENSOR', '{"ENERGY":{"Power":999}}', ['--retain']);
  stack = await startStack({
    KR_CONFIG: join(folder, 'kernreaktor.yaml'),
    KR_INFLUX_URL: victoria.url,
    KR_INFLUX_TOKEN: 'none',
    KR_METRICS_DETAIL: 'node',
  });
}, 240_000);
afterAll(async () => {
  await stack?.remove();
  await mosquitto?.stop();
  await victoria?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function publish(topic: string, text: string, more: string[] = []): Promise<void> {
  const { pub, env } = mosquittoTools();
  await run(pub, ['-p', String(mosquitto.port), '-t', topic, '-m', text, ...more], { env });
}

const shown = (): Promise<NodeAnswer> => stack.api.get<NodeAnswer>(`clusters/local/nodes/${node}`);
const metrics = async () => (await stack.api.send<string>('GET', '/metrics')).body;

it('is estimated by its class, and says so, until its plug has spoken', async () => {
  await until(async () => (await shown()).powerSource !== null, { what: 'a first sample' });
  expect(await shown()).toMatchObject({
    powerWatts: null,
    powerEstimatedWatts: 30,
    powerSource: 'model',
  });
  expect(await metrics()).toMatch(/^node_powerEstimatedWatts\{.*\} 30$/m);
  expect(await metrics()).not.toMatch(/^node_powerWatts\{/m);
});

it('is what the plug measures as soon as it speaks, and not what a broker kept for it', async () => {
  await until(async () => (await metrics()).includes('kr_power_plugs{figure="connected"} 1'));
  await until(async () => {
    await publish('tele/rack/SENSOR', '{"Time":"now","ENERGY":{"Total":3.1,"Power":47.5}}');
    return (await shown()).powerSource === 'plug';
  });
  expect(await shown()).toMatchObject({ powerWatts: 47.5, powerEstimatedWatts: null });
  expect(await metrics()).toMatch(/^node_powerWatts\{.*\} 47.5$/m);
  expect(await metrics()).not.toMatch(/^node_powerEstimatedWatts\{/m);
});

it('counts in the kilowatt hours of the energy board, the estimated part apart', async () => {
  const panels = boardsOf('prometheus').find(({ name }) => name === 'energy')?.panels ?? [];
  const ask = async (title: string) => {
    const expr = panels.find((panel) => panel.title === title)?.targets[0]?.expr ?? '';
    const query = expr.replaceAll(/\$(cluster|node)/g, '.*').replaceAll('$__range:1m', '10m:1s');
    await fetch(`${victoria.url}/internal/force_flush`);
    // Sums of seconds are sixty times those of minutes.
    const [found] = await instant(victoria.url, `(${query}) / 60`, Date.now());
    return found?.value ?? 0;
  };
  await until(async () => (await ask('Used')) > (await ask('Of that, estimated')));
  const estimated = await ask('Of that, estimated');
  expect(estimated).toBeGreaterThan(0);
  const used = await ask('Used');
  // Ten minutes at 47.5 W at most, since the stack is no older.
  expect(used).toBeGreaterThan(estimated);
  expect(used).toBeLessThan((47.5 * 600) / 3_600_000);
});
