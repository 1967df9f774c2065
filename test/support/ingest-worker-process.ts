/**
 * An ingest worker in a process of its own, which a test can kill: production code, by the settings
 * of the environment, but its clock runs `speed` times as fast, so that receipts of every 10 s take
 * a tenth of it. The wall stays true, since samples carry it.
 */
import { randomBytes } from 'node:crypto';
import { readSettings } from '../../backend/config.ts';
import { startIngestWorker } from '../../backend/worker.ts';
import { uuidv7 } from '../../broker/contract/ids.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import { fastClock, systemRandom } from './backend-process.ts';

export const speedOfWorkers = 10;
export const clockOfWorkers: Clock = { ...fastClock(speedOfWorkers), wallMs: () => Date.now() };

async function main(): Promise<void> {
  const say = (level: string) => (fields: object, message: string) =>
    void process.stderr.write(`${level} ${message} ${JSON.stringify(fields)}\n`);
  await startIngestWorker(readSettings(process.env, { KR_METRICS_SPOOL_MB: '0' }), {
    clock: clockOfWorkers,
    random: systemRandom,
    newId: () => uuidv7(Date.now(), randomBytes(16)),
    log: { debug: () => undefined, info: say('info'), warn: say('warn'), error: say('error') },
  });
  process.stdout.write('ready\n');
}

if (import.meta.main) await main();
