/**
 * What the administrator of this machine allows, whatever the server says: the policy file and the
 * HOLD file. Both are read at every check, so an edit counts at once. Invariant: what cannot be
 * read or understood forbids everything; a missing file is the only silence.
 */
import { access, open } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { CommandKind } from '../../broker/contract/command.ts';

/**
 *   allow: [guest.migrate, guest.scale]   # only these kinds; every kind when left out
 *   protected: true                       # this machine is never switched off
 *   scripts:                              # only these programs of the administrator run, and
 *     /usr/local/lib/kernreaktor/stop: 9f86...   # only with this SHA-256; none when left out
 */
const Scripts = z.record(
  z.string().refine(isAbsolute, 'write the absolute path of a program'),
  z.string().regex(/^[0-9a-f]{64}$/, 'write the 64 hex digits that sha256sum prints'),
);

export const LocalPolicy = z.strictObject({
  allow: z.array(CommandKind).nullable().default(null),
  protected: z.boolean().default(false),
  scripts: Scripts.optional(),
});
export type LocalPolicy = z.infer<typeof LocalPolicy>;

export type PolicyReading = { ok: true; policy: LocalPolicy } | { ok: false; problem: string };

export function parsePolicy(text: string): PolicyReading {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    return { ok: false, problem: (error as Error).message.split('\n')[0] ?? 'not YAML' };
  }
  const policy = LocalPolicy.safeParse(value ?? {});
  if (policy.success) return { ok: true, policy: policy.data };
  const issue = policy.error.issues[0];
  const field = issue?.path.join('.') ?? '';
  return { ok: false, problem: `${field === '' ? 'policy' : field}: ${issue?.message ?? ''}` };
}

const isMissing = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

/** undefined: others may write it, and who does could pin a program of theirs. */
async function readOwn(path: string): Promise<string | undefined> {
  const file = await open(path);
  try {
    const { mode } = await file.stat();
    return (mode & 0o022) === 0 ? await file.readFile('utf8') : undefined;
  } finally {
    await file.close();
  }
}

export const policyFile = (path: string) => async (): Promise<PolicyReading> => {
  try {
    const text = await readOwn(path);
    if (text === undefined) {
      return { ok: false, problem: `${path}: others may change it; chmod go-w ${path}` };
    }
    const reading = parsePolicy(text);
    return reading.ok ? reading : { ok: false, problem: `${path}: ${reading.problem}` };
  } catch (error) {
    if (isMissing(error)) return { ok: true, policy: LocalPolicy.parse({}) };
    return { ok: false, problem: `${path}: ${(error as Error).message}` };
  }
};

/** The stricter of two readings: of a container's own policy and that of the host around it. */
export async function strictest(
  own: () => Promise<PolicyReading>,
  host: () => Promise<PolicyReading>,
): Promise<PolicyReading> {
  const [inner, outer] = [await own(), await host()];
  if (!inner.ok) return inner;
  if (!outer.ok) return outer;
  const [a, b] = [inner.policy, outer.policy];
  const allow = a.allow && b.allow ? a.allow.filter((kind) => b.allow?.includes(kind)) : null;
  // Paths of programs are those of the container, which the host's own list does not mean.
  return {
    ok: true,
    policy: { ...a, allow: allow ?? a.allow ?? b.allow, protected: a.protected || b.protected },
  };
}

/** Held while the file exists, and also when nobody can tell whether it does. */
export const holdFile = (path: string) => (): Promise<boolean> =>
  access(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );
