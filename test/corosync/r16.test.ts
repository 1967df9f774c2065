/**
 * The short form of R16: three real corosync nodes in namespaces of their own, every set of them
 * on. Skipped with its reason where namespaces or root are missing.
 */
import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);

function reasonToSkip(): string | null {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces';
  try {
    execFileSync('unshare', ['--mount', '--net', '--pid', '--fork', 'true'], { stdio: 'ignore' });
    const bridge = ['--net', 'ip', 'link', 'add', 'kr0', 'type', 'bridge'];
    execFileSync('unshare', bridge, { stdio: 'ignore' });
    execFileSync('apt-get', ['--version'], { stdio: 'ignore' });
    return null;
  } catch (error) {
    return `no private network here: ${(error as Error).message.split('\n')[0]}`;
  }
}

const reason = reasonToSkip();
if (reason !== null) process.stderr.write(`R16 with real corosync is skipped: ${reason}\n`);

describe('the rows about votes, asked about real corosync, should', () => {
  it.skipIf(reason !== null)(
    'allow no switch-off that leaves it inquorate, nor one without the spare asked for',
    async () => {
      const script = join(import.meta.dirname, 'r16.ts');
      const { stdout } = await run(process.execPath, [script, '--form', 'short']);
      const figures = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, number>;
      expect(figures).toMatchObject({
        layouts: 1,
        sets: 7,
        questions: 24,
        allowedButInquorate: 0,
        allowedButNoSpare: 0,
        deniedButQuorate: 0,
      });
      // The three single switch-offs of the whole cluster, where no spare is asked for.
      expect(figures['allowed']).toBe(3);
    },
    180_000,
  );
});
