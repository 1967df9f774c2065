/** The administrator's word that every program below a folder may run, as it is now. */
import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LocalPolicy, type PolicyReading } from '../../daemon/command/local-policy.ts';

export const pinOf = (bytes: Buffer | string): string =>
  createHash('sha256').update(bytes).digest('hex');

async function pinsBelow(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((one) => join(one.parentPath, one.name));
  const pins: Record<string, string> = {};
  for (const path of paths) {
    // One that a running test has just taken away needs no pin.
    const bytes = await readFile(path).catch(() => null);
    if (bytes) pins[path] = pinOf(bytes);
  }
  return pins;
}

export const pinnedBelow = (folder: string) => async (): Promise<PolicyReading> => {
  const scripts = await pinsBelow(folder);
  return { ok: true, policy: LocalPolicy.parse({ scripts }) };
};

/** As policy.yaml there, for daemons that are processes. */
export async function writePins(folder: string): Promise<void> {
  const text = JSON.stringify({ scripts: await pinsBelow(folder) });
  await writeFile(join(folder, 'policy.yaml'), text, { mode: 0o644 });
}
