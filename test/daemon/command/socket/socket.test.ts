import { rename, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Report } from '../../../../broker/contract/report.ts';
import type { WakeRequest } from '../../../../daemon/waker/port.ts';
import { until } from '../../../support/servers.ts';
import { createSigner, node } from '../rig.ts';
import { type Agent, createHouse, type House } from './house.ts';

let house: House;
beforeEach(async () => {
  house = await createHouse();
  await house.start();
});
afterEach(() => house.remove());

const seen = (what: string, condition: () => boolean) =>
  until(condition, { withinMs: 10_000, what });

const claimOf = (agent: Agent, commandId: string) =>
  agent.said.find((one) => one.name === 'claim' && one.body.commandId === commandId);
const reportsOf = (agent: Agent, commandId: string): Report[] =>
  agent.said.flatMap((one) =>
    one.name === 'report' && one.body.commandId === commandId ? [one.body] : [],
  );

/** Offer, claim, grant, over the socket alone. */
async function command(agent: Agent, more: Parameters<House['offer']>[0] = {}): Promise<string> {
  const offer = house.offer(more);
  const { commandId } = offer;
  await agent.executor.deliver({ name: 'offer', node, body: offer });
  await seen('claim', () => claimOf(agent, commandId) !== undefined);
  const claim = claimOf(agent, commandId);
  if (claim?.name !== 'claim') throw new Error('no claim');
  const body = house.signer.sign(house.grantOf(offer, claim.body));
  await agent.executor.deliver({ name: 'grant', node, body });
  return commandId;
}
const finished = (agent: Agent, commandId: string) =>
  seen('finished', () => reportsOf(agent, commandId).some(({ step }) => step === 'finished'));

describe('agent and executor, two sides of a socket', () => {
  it('carry a command from its offer to its end, and nothing but the executor acts', async () => {
    const agent = await house.agent();
    const commandId = await command(agent);
    await finished(agent, commandId);
    expect(house.world.effects).toEqual([commandId]);
    expect(
      reportsOf(agent, commandId)
        .map(({ step }) => step)
        .slice(0, 2),
    ).toEqual(['accepted', 'started']);
    const description = await agent.hypervisor.describe(node);
    expect(description).toEqual(house.world.description);
    await expect(agent.hypervisor.describe('n9')).rejects.toMatchObject({
      code: 'KR_FOREIGN_NODE',
    });
    const action = { kind: 'guest.start', args: {} } as const;
    const work = {
      commandId,
      node,
      target: { kind: 'guest', id: '1' },
      action,
      timeScale: 1,
    } as const;
    const signal = new AbortController().signal;
    const acting = agent.hypervisor.perform(work, { signal, onHandle: async () => undefined });
    await expect(acting).rejects.toMatchObject({ code: 'KR_EXECUTOR_ONLY' });
  });

  it('gives a new agent a new incarnation, and goes on with what the old one began', async () => {
    let release = (): void => undefined;
    house.world.perform = () =>
      new Promise((resolve) => {
        release = () => resolve({ exitCode: 0, detail: 'done', output: '' });
      });
    const first = await house.agent();
    const before = await first.executor.introduce(node);
    const commandId = await command(first);
    await seen('effect', () => house.world.effects.length === 1);
    first.close();
    const second = await house.agent();
    const after = await second.executor.introduce(node);
    expect(after.incarnation).toBe(before.incarnation + 1);
    expect(after.journalId).toBe(before.journalId);
    expect(after.openCommands).toMatchObject([{ commandId, phase: 'started' }]);
    release();
    await finished(second, commandId);
    expect(house.world.effects).toEqual([commandId]);
  });

  it('tells the agent when the executor was started anew; its journal decides', async () => {
    house.world.perform = () => new Promise(() => undefined);
    house.world.observe = async () => ({ postcondition: true, detail: 'seen' });
    const agent = await house.agent();
    let reborn = 0;
    agent.onReborn(() => (reborn += 1));
    const before = await agent.executor.introduce(node);
    const commandId = await command(agent);
    await seen('effect', () => house.world.effects.length === 1);
    house.disk.restart();
    await Promise.race([house.stop(), new Promise((resolve) => setImmediate(resolve))]);
    await expect(agent.executor.introduce(node)).rejects.toMatchObject({
      code: expect.stringMatching(/KR_(EXECUTOR_AWAY|SOCKET_CLOSED)/),
    });
    await house.start();
    await seen('reborn', () => reborn === 1);
    const after = await agent.executor.introduce(node);
    expect(after.incarnation).toBe(before.incarnation + 1);
    agent.executor.connected(node, true);
    await finished(agent, commandId);
    expect(house.world.effects).toEqual([commandId]);
  });

  it('lets the agent say goodbye before the host goes, and send the wake it is ordered', async () => {
    const requests: WakeRequest[] = [];
    const wol = {
      name: 'wol' as const,
      wake: async (request: WakeRequest) => {
        requests.push(request);
        return { packets: 6, detail: 'sent 6' };
      },
    };
    const agent = await house.agent({ wakers: [wol] });
    const macs = ['52:54:00:00:00:01'];
    const wake = { kind: 'node.wake', target: { kind: 'node', id: 'n9' }, args: { macs } } as const;
    const wakeId = await command(agent, wake);
    await seen('wake', () => requests.length === 1);
    // It would be sent twice more, had the server not seen the node.
    const body = { commandId: wakeId, n: 1, state: 'SUCCEEDED', reason: null } as const;
    await agent.executor.deliver({ name: 'verdict', node, body });
    await finished(agent, wakeId);
    expect(requests).toEqual([{ node: 'n9', macs, broadcasts: [], commandId: wakeId }]);
    expect(reportsOf(agent, wakeId).at(-1)).toMatchObject({
      exitCode: 0,
      detail: expect.stringContaining('wol: sent 6; ended after 1 of 3 bursts'),
    });
    const target = { kind: 'node', id: node } as const;
    const commandId = await command(agent, { kind: 'node.shutdown', target });
    await seen('effect', () => house.world.effects.includes(commandId));
    expect(agent.said).toContainEqual({ name: 'goodbye', node });
  });

  it('reports the waker that the agent has not, and a wake without an agent', async () => {
    const agent = await house.agent();
    const wake = { kind: 'node.wake', target: { kind: 'node', id: 'n9' }, args: {} } as const;
    const commandId = await command(agent, wake);
    await finished(agent, commandId);
    expect(reportsOf(agent, commandId).at(-1)).toMatchObject({
      exitCode: 1,
      detail: expect.stringContaining('no wol for n9'),
    });
  });
});

describe('the door', () => {
  it('is open to root and the group alone', async () => {
    expect((await stat(house.path)).mode & 0o777).toBe(0o660);
    const folder = await stat(`${house.folder}/run`);
    expect(folder.mode & 0o777).toBe(0o750);
    expect((await stat(house.path)).gid).toBe(folder.gid);
    expect(
      (await stat(`${house.folder}/server-keys.json`).catch(() => null))?.mode,
    ).toBeUndefined();
    await house.agent();
    expect((await stat(`${house.folder}/server-keys.json`)).mode & 0o777).toBe(0o600);
  });

  it('believes the keys of the first greeting for ever, restarts included', async () => {
    await house.agent();
    const foreign = { serverKeys: [createSigner().key], signal: AbortSignal.timeout(1_500) };
    await expect(house.agent(foreign)).rejects.toThrow('timeout');
    await house.stop();
    await house.start();
    const again = { serverKeys: [createSigner().key], signal: AbortSignal.timeout(1_500) };
    await expect(house.agent(again)).rejects.toThrow('timeout');
    const both = { serverKeys: [house.signer.key, createSigner().key] };
    const wanted = { ...both, signal: AbortSignal.timeout(1_500) };
    await expect(house.agent(wanted)).rejects.toThrow('timeout');
    expect(JSON.stringify(house.log.lines)).toContain('KR_FOREIGN_SERVER');
    await expect(house.agent()).resolves.toBeDefined();
  });

  it('refuses a damaged key file, another executor on the path, and a file that is no socket', async () => {
    await expect(house.start()).rejects.toMatchObject({ code: 'KR_SOCKET' });
    await house.stop();
    await writeFile(house.path, 'no socket');
    await expect(house.start()).rejects.toThrow('name another path');
    await writeFile(`${house.folder}/server-keys.json`, '{"serverKeys": []}');
    await expect(house.start()).rejects.toMatchObject({ code: 'KR_TRUST_FILE' });
  });

  it('takes over the socket that a killed executor left behind', async () => {
    await house.stop();
    const left = createServer();
    await new Promise<void>((resolve) => left.listen(house.path, resolve));
    // Closing removes the name; a killed process cannot, so it is put back.
    await new Promise((resolve) => left.close(resolve));
    const stale = createServer();
    await new Promise<void>((resolve) => stale.listen(house.path, resolve));
    await rename(house.path, `${house.path}.kept`);
    await new Promise((resolve) => stale.close(resolve));
    await rename(`${house.path}.kept`, house.path);
    await house.start();
    await expect(house.agent()).resolves.toBeDefined();
  });

  it('has room for one agent: the newer takes the place of the older', async () => {
    const first = await house.agent();
    const second = await house.agent();
    await expect(second.executor.introduce(node)).resolves.toMatchObject({ maxEpoch: 0 });
    first.close();
    const commandId = await command(second);
    await finished(second, commandId);
    expect(reportsOf(first, commandId)).toEqual([]);
  });
});
