/** `doctor pve --record <file>`: by the settings of the daemon, readable by its owner alone. */
import { writeFile } from 'node:fs/promises';
import { createPveApi } from './client.ts';
import { readPveConfig } from './config.ts';
import { record } from './record.ts';

export class NotRecorded extends Error {
  override readonly name = 'NotRecorded';
  readonly code = 'KR_PVE_RECORD';
}

/** An older file stays as it is. @throws NotRecorded */
export async function recordTo(
  file: string,
  version: string,
  config = readPveConfig(),
): Promise<{ file: string; answers: number; refused: number; text: string }> {
  if (!config.ok) {
    const problems = config.problems.map(({ field, hint }) => `${field}: ${hint}`).join('; ');
    throw new NotRecorded(problems);
  }
  const api = createPveApi(config.endpoint);
  try {
    const recording = await record(api, version);
    const refused = recording.answers.filter((answer) => answer.refused !== undefined).length;
    if (refused === recording.answers.length) {
      throw new NotRecorded(`nothing was answered: ${recording.answers[0]?.refused ?? ''}`);
    }
    await writeFile(file, `${JSON.stringify(recording, null, 1)}\n`, {
      mode: 0o600,
      flag: 'wx',
    }).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST') throw cause;
      throw new NotRecorded(`${file} is there already: name another`, { cause });
    });
    const answers = recording.answers.length;
    const text =
      `${file}: ${answers} answers, ${refused} of them refusals. Names, addresses and digests ` +
      'stand under pseudonyms; look through it before you send it to anybody';
    return { file, answers, refused, text };
  } finally {
    await api.close();
  }
}
