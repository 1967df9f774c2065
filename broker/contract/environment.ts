/**
 * Settings as every process of ours reads them: each KR_X may come as KR_X_FILE, the path of a
 * file that holds the value. Environment and file access are passed in; only config.ts has them.
 */

export type Environment = Readonly<Record<string, string | undefined>>;
export type Problem = { field: string; hint: string };

/** Values by name, and what is wrong with those that have none. An empty variable is unset. */
export function gatherSettings(
  names: readonly string[],
  environment: Environment,
  readText: (path: string) => string,
): { values: Record<string, string>; problems: Problem[] } {
  const values: Record<string, string> = {};
  const problems: Problem[] = [];
  for (const name of names) {
    // Compose files leave variables empty that nobody set.
    const direct = environment[name] || undefined;
    const file = environment[`${name}_FILE`] || undefined;
    if (direct !== undefined && file !== undefined) {
      problems.push({ field: name, hint: `set ${name} or ${name}_FILE, not both` });
    } else if (direct !== undefined) {
      values[name] = direct;
    } else if (file !== undefined) {
      try {
        values[name] = readText(file).trim();
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        problems.push({ field: `${name}_FILE`, hint: `cannot be read: ${why}` });
      }
    }
  }
  return { values, problems };
}
