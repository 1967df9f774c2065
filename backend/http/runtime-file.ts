/**
 * `<data>/runtime.json`, mode 0600: where this process listens, so that scripts on the machine
 * find it. Written whole or not at all; gone after a clean stop.
 */
import { chmod, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export type Runtime = {
  pid: number;
  httpUrl: string;
  mqttUrl: string;
  socketPath: string;
  /** Only until the first account exists. */
  setupToken?: string;
};

const fileOf = (dataDir: string): string => join(dataDir, 'runtime.json');

export async function writeRuntime(dataDir: string, runtime: Runtime): Promise<void> {
  const temporary = `${fileOf(dataDir)}.${runtime.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(runtime, undefined, 2)}\n`, { mode: 0o600 });
  // The mode above is subject to umask and ignored for a file left over by a crash.
  await chmod(temporary, 0o600);
  await rename(temporary, fileOf(dataDir));
}

export const removeRuntime = (dataDir: string): Promise<void> =>
  rm(fileOf(dataDir), { force: true });
