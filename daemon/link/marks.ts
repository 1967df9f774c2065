/**
 * Until when this daemon has sampled, in a file of its data folder, so that its next start knows
 * from when on something is missing. Written every 10 s; a mark that cannot be read or written
 * means that the past is left as it is, never a sample twice.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { oneByOne } from '../turns.ts';

/** `isLast`: written by an orderly end; otherwise samples may follow for up to `markEveryMs`. */
const Mark = z.object({ atMs: z.int().min(0), isLast: z.boolean() });
type Mark = z.infer<typeof Mark>;

export const markEveryMs = 10_000;

export type Marks = {
  /** Unix ms from which on nothing was sampled; null when nobody knows. */
  read(node: string): Promise<number | null>;
  write(node: string, mark: Mark): Promise<void>;
};

export function openMarks(folder: string): Marks {
  const pathOf = (node: string): string => join(folder, `${node}.json`);
  const inTurn = oneByOne();
  const save = async (node: string, mark: Mark): Promise<void> => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(`${pathOf(node)}.new`, JSON.stringify(mark), { mode: 0o600 });
    await rename(`${pathOf(node)}.new`, pathOf(node));
  };
  return {
    async read(node) {
      try {
        const { atMs, isLast } = Mark.parse(JSON.parse(await readFile(pathOf(node), 'utf8')));
        return isLast ? atMs : atMs + markEveryMs;
      } catch {
        return null;
      }
    },
    write: (node, mark) => inTurn(() => save(node, mark)),
  };
}
