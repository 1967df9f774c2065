/** What the builder reads from its surroundings; alone reads the environment here. */

/** The time that all files of a package bear; null: that of the newest commit. */
export function sourceDateEpoch(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): number | null {
  const given = environment['SOURCE_DATE_EPOCH'] ?? '';
  if (given === '') return null;
  if (/^\d{1,11}$/.test(given)) return Number(given);
  throw new Error('SOURCE_DATE_EPOCH: use whole seconds since 1970');
}
