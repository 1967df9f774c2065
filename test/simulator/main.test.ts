import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { localServer, readConfig } from '../../simulator/config.ts';
import { addSimulateCommand } from '../../simulator/command.ts';
import type { SimulatorParts } from '../../simulator/main.ts';
import { seededRandom } from '../../simulator/prng.ts';
import { idsOf, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-simulator-'));
});
afterEach(() => rm(folder, { recursive: true }));

function sink(): Writable & { text: () => string } {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  return Object.assign(stream, { text: () => text });
}

async function simulate(...args: string[]) {
  const clock = virtualClock();
  const random = seededRandom(1);
  const [out, errors] = [sink(), sink()];
  let exitCode: number | undefined;
  const parts: SimulatorParts = {
    clock,
    random,
    newId: idsOf(clock, random),
    log: memoryLog(),
    version: 'test',
    pid: process.pid,
    out,
    errors,
    setExitCode: (code) => void (exitCode = code),
    signal: new AbortController().signal,
    server: () => localServer(folder),
  };
  const program = new Command();
  addSimulateCommand(program, () => parts);
  await program.parseAsync(['simulate', ...args], { from: 'user' });
  return { exitCode, out: out.text(), errors: errors.text() };
}

describe('the simulate command', () => {
  it('names every wrong option with the way out and ends with 2', async () => {
    expect(await simulate('--nodes', '0', '--scenario', 'panic', '--slo', 'p99<1h')).toEqual({
      exitCode: 2,
      out: '',
      errors: [
        '--nodes: use a whole number from 1 to 16384',
        '--scenario: use one of steady, hot-spot, node-crash, flapping, broker-restart, ' +
          'thundering-herd, wake-fails, closed-loop',
        "--slo: p99 is not measured in 'h': use ms or s",
        '',
      ].join('\n'),
    });
  });

  it('says what to do when no server runs in the data folder', async () => {
    expect(await simulate()).toEqual({
      exitCode: 1,
      out: '',
      errors: `no server runs in ${folder}: run npm start first, or set KR_URL and KR_API_TOKEN\n`,
    });
  });

  it('says that the server is gone when its socket answers nobody', async () => {
    const runtime = {
      pid: process.pid,
      httpUrl: 'http://127.0.0.1:1',
      mqttUrl: 'mqtt://127.0.0.1:1',
      socketPath: join(folder, 'http.sock'),
    };
    await writeFile(join(folder, 'runtime.json'), JSON.stringify(runtime));
    const { exitCode, errors } = await simulate('--nodes', '1');
    expect(exitCode).toBe(1);
    expect(errors).toMatch(/^POST \/api\/v1\/enrolments: .*ENOENT/);
  });
});

describe('the surroundings of the simulator', () => {
  it.each([
    [{ KR_URL: 'http://host:1' }, 'KR_API_TOKEN: needed with KR_URL'],
    [{ KR_URL: 'ftp://host', KR_API_TOKEN: 'x' }, 'KR_URL: use http://host:port'],
    [{ KR_URL: 'http://host:1', KR_API_TOKEN: 'x' }, 'KR_MQTT_URL: needed with KR_URL'],
    [{ KR_MQTT_URL: 'tcp://host:1' }, 'KR_MQTT_URL: use mqtt://host:port'],
  ])('%j is refused with the way out', (env, message) => {
    expect(() => readConfig(env)).toThrow(message);
  });

  it('take a server elsewhere by address and token', () => {
    const server = readConfig({
      KR_URL: 'https://server.example:8443',
      KR_API_TOKEN: 'token',
      KR_MQTT_URL: 'mqtts://server.example:8883',
    });
    expect(server.api).toEqual({
      url: 'https://server.example:8443',
      token: 'token',
      socketPath: null,
    });
    expect(server.pid()).toBeNull();
  });

  it('read the running server of this machine anew, since it may restart', async () => {
    const write = (pid: number) =>
      writeFile(
        join(folder, 'runtime.json'),
        JSON.stringify({ pid, httpUrl: 'http://h', mqttUrl: 'mqtt://h', socketPath: '/s' }),
      );
    await write(11);
    const server = readConfig({ KR_DATA_DIR: folder, KR_MQTT_URL: 'mqtt://other:1' });
    expect([server.pid(), server.mqttUrl]).toEqual([11, 'mqtt://other:1']);
    await write(12);
    expect(server.pid()).toBe(12);
  });
});
