/**
 * Puts the fake tools of one node into a folder: small Perl launchers without any variable from
 * outside, since the sandbox starts tools with a clean environment.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ToolName, toolNames } from './frames.ts';

export type ToolSettings = { socket: string; node: string; effectLog: string };

const quoted = (text: string): string => `'${text.replaceAll(/['\\]/g, '\\$&')}'`;

/** Absolute path of each tool. */
export async function installTools(
  folder: string,
  { socket, node, effectLog }: ToolSettings,
): Promise<Record<ToolName, string>> {
  await mkdir(folder, { recursive: true });
  const body = fileURLToPath(import.meta.resolve('./tool.pl'));
  const paths = toolNames.map((tool) => [tool, join(folder, tool)] as const);
  for (const [tool, path] of paths) {
    const words = [socket, node, effectLog, tool].map(quoted).join(', ');
    await writeFile(
      path,
      `#!/usr/bin/perl\nunshift @ARGV, ${words};\ndo ${quoted(body)};\ndie $@;\n`,
    );
    await chmod(path, 0o755);
  }
  return Object.fromEntries(paths) as Record<ToolName, string>;
}
