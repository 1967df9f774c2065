/**
 * The command service of a backend in a process of its own, which a test can stop and kill:
 * production code over a real MariaDB, spoken to by IPC in the broker's place. Its clock, and the
 * store's as it reads it, run `speed` times as fast, so that a lease of 10 s takes a tenth of it.
 * Arguments: url of the store, owner, speed, folder of the signing key, layout as JSON.
 */
import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { type CommandMessage, createCommands } from '../../backend/act/commands.ts';
import type { Submission } from '../../backend/act/planned.ts';
import { openSigner } from '../../backend/act/signer.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { commandStore } from '../../backend/store/sql/command-rows.ts';
import { openDatabase } from '../../backend/store/sql/database.ts';
import { GuestFacts } from '../../broker/contract/facts.ts';
import { nodeKey, uuidv7 } from '../../broker/contract/ids.ts';
import type { Clock, Log, Random } from '../../broker/contract/ports.ts';
import { nodeRecord } from '../backend/act/twin.ts';
import { guestSample } from './messages.ts';

export type Layout = { clusters: Record<string, string[]>; guests: Record<string, string> };

export type ToBackend =
  | { type: 'hear'; message: unknown }
  | { type: 'node'; cluster: string; node: string; patch: object }
  | { type: 'submit'; submission: Submission };

export type FromBackend =
  | { type: 'ready' }
  | { type: 'publish'; topic: string; payload: string }
  | { type: 'submitted'; ok: boolean; id: string | null }
  | { type: 'log'; level: string; message: string; fields: string };

export function fastClock(speed: number): Clock {
  return {
    wallMs: () => Math.floor(Date.now() * speed),
    monotonicMs: () => performance.now() * speed,
    after(delayMs, run) {
      const timer = setTimeout(() => void run(), delayMs / speed);
      return () => clearTimeout(timer);
    },
  };
}

export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  ratio: () => randomBytes(4).readUInt32BE() / 2 ** 32,
};

function fleetOf({ clusters, guests }: Layout) {
  const fleet = emptyFleet();
  for (const [cluster, nodes] of Object.entries(clusters)) {
    const facts = Object.keys(guests)
      .filter((key) => key.startsWith(`${cluster}/`))
      .map((key) => {
        const id = key.split('/')[1] ?? '';
        const devices = { disks: [], localResources: [] };
        const hotplug = ['cpu', 'memory'];
        const cpuType = 'x86-64-v3';
        return GuestFacts.parse({ id, kind: 'vm', name: id, cpuType, hotplug, ...devices });
      });
    const records = nodes.map((node) => {
      const record = nodeRecord(cluster, node);
      record.guestFactsJson = JSON.stringify(facts);
      return [node, record] as const;
    });
    fleet.nodesByCluster.set(cluster, new Map(records));
    for (const [node, record] of records) fleet.nodes.set(nodeKey(cluster, node), record);
  }
  for (const [key, node] of Object.entries(guests)) {
    const [cluster = '', id = ''] = key.split('/');
    fleet.guests.set(key, { ...guestSample(id), cluster, node, sampleAtMs: 0 });
  }
  return fleet;
}

const say = (message: FromBackend): void => void process.send?.(message);

async function main([url = '', owner = '', speedText = '1', folder = '', layout = '{}']: string[]) {
  const clock = fastClock(Number(speedText));
  const newId = () => uuidv7(Date.now(), randomBytes(16));
  const log = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map((level) => [
      level,
      (fields: object, message: string) => {
        if (level === 'debug' || level === 'info') return;
        const { err } = fields as { err?: Error };
        say({
          type: 'log',
          level,
          message,
          fields: JSON.stringify({ ...fields, err: err?.message }),
        });
      },
    ]),
  ) as Log;
  const opened = await openDatabase({ url, file: '', nowMs: () => clock.wallMs(), clock, log });
  const storeNow = sql<number>`cast(unix_timestamp(now(3)) * ${1000 * Number(speedText)} as signed)`;
  const database = { ...opened, dialect: { ...opened.dialect, nowMs: () => storeNow } };
  const fleet = fleetOf(JSON.parse(layout) as Layout);
  const isOnline = new Set<string>();
  const commands = createCommands({
    store: commandStore(database),
    link: {
      publish: async ({ topic, payload }) => say({ type: 'publish', topic, payload }),
      onMessage: () => undefined,
      isConnected: () => true,
      close: async () => undefined,
    },
    clock,
    random: systemRandom,
    newId,
    log,
    signer: await openSigner({ folder, random: systemRandom, newId }),
    owner,
    fleet: () => fleet,
    watermark: () => ({ incarnation: 0, seq: 0 }),
  });
  await commands.start();
  // A sample a second keeps every node known as awake.
  setInterval(
    () => {
      for (const key of isOnline) {
        const record = fleet.nodes.get(key as ReturnType<typeof nodeKey>);
        if (!record) continue;
        record.sampleAtMs = clock.monotonicMs();
        record.sampledAtWallMs = clock.wallMs();
      }
    },
    1_000 / Number(speedText),
  );
  process.on('message', (message: ToBackend) => {
    if (message.type === 'hear') return commands.onMessage(message.message as CommandMessage);
    if (message.type === 'submit') {
      void commands.submit(message.submission).then(
        (answer) => say({ type: 'submitted', ok: answer.ok, id: answer.ok ? answer.id : null }),
        () => say({ type: 'submitted', ok: false, id: null }),
      );
      return;
    }
    const key = nodeKey(message.cluster, message.node);
    Object.assign(fleet.nodes.get(key) ?? {}, message.patch);
    isOnline.add(key);
  });
  process.on('disconnect', () => process.exit(0));
  say({ type: 'ready' });
}

if (import.meta.main) await main(process.argv.slice(2));
