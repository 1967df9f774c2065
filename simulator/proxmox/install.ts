/**
 * Puts the six fake tools of one node into a folder: small shell launchers without any variable
 * from outside, since the sandbox starts tools with a clean environment.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ToolName, toolNames } from './frames.ts';

export type ToolSettings = { socket: string; node: string; effectLog: string };

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Absolute path of each tool. */
export async function installTools(
  folder: string,
  settings: ToolSettings,
): Promise<Record<ToolName, string>> {
  await mkdir(folder, { recursive: true });
  const settingsPath = join(folder, 'settings.json');
  await writeFile(settingsPath, JSON.stringify(settings));
  const body = fileURLToPath(import.meta.resolve('./tool.ts'));
  const paths = toolNames.map((tool) => [tool, join(folder, tool)] as const);
  for (const [tool, path] of paths) {
    const command = [process.execPath, body, settingsPath, tool].map(quoted).join(' ');
    await writeFile(path, `#!/bin/sh\nexec ${command} "$@"\n`);
    await chmod(path, 0o755);
  }
  return Object.fromEntries(paths) as Record<ToolName, string>;
}
