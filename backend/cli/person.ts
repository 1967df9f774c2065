/** The person at the terminal: what they are told and asked. Without a terminal nobody answers. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { Person } from './prove-wake.ts';

/** Where a command reads and writes, and how it ends. */
export type Terminal = {
  input: NodeJS.ReadStream;
  output: NodeJS.WriteStream;
  /** What is told beside an answer that a program reads. */
  errors: NodeJS.WriteStream;
  signal: AbortSignal;
  setExitCode(code: number): void;
};

/** Echoes the question and nothing that is typed. */
const silent = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

type Spoken = Pick<Terminal, 'input' | 'output' | 'signal'>;

export function personAt({ input, output, signal }: Spoken): Person {
  const say = (line: string): void => void output.write(`${line}\n`);
  async function read(question: string, isSecret: boolean): Promise<string | null> {
    if (!input.isTTY) return null;
    output.write(question);
    const lines = createInterface({
      input,
      output: isSecret ? silent() : output,
      terminal: isSecret,
    });
    try {
      return await lines.question('', { signal });
    } finally {
      lines.close();
      if (isSecret) say('');
    }
  }
  return {
    say,
    ask: (question) => read(question, false),
    askSecret: (question) => read(question, true),
  };
}
