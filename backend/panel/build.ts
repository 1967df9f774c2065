/**
 * Builds the panel into `dist` when that is missing or older than a source: `npm run panel`, and
 * before `npm start`. A packaged server contains `dist` and never comes here.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const home = import.meta.dirname;
const page = join(home, 'dist', 'index.html');
const sources = ['src', 'public', 'index.html', 'vite.config.ts', 'build.ts'];

function newestMs(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(...readdirSync(path).map((name) => newestMs(join(path, name))));
}

const isStale = (): boolean =>
  !existsSync(page) ||
  Math.max(...sources.map((name) => newestMs(join(home, name)))) > statSync(page).mtimeMs;

/** Answers whether it had to build. */
export async function buildPanel(): Promise<boolean> {
  if (!isStale()) return false;
  const { build } = await import('vite');
  await build({ configFile: join(home, 'vite.config.ts'), logLevel: 'warn' });
  return true;
}

if (import.meta.main) {
  try {
    if (await buildPanel()) process.stdout.write('panel built\n');
  } catch (error) {
    // The server and its API work without it, and the page then says what to do.
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`the panel could not be built: ${why}\n`);
  }
}
