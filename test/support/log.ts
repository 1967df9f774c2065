/** A log that keeps its lines, so that a test can assert on them and stays quiet. */
import type { Log } from '../../broker/contract/ports.ts';

export type Line = { level: string; fields: object; message: string };

export function memoryLog(): Log & { lines: Line[] } {
  const lines: Line[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, fields, message });
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
