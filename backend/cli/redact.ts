/**
 * Takes out of a text what is nobody's business: secrets for good, addresses and names under
 * pseudonyms that stay the same throughout, so that what belongs together is still seen. Pure.
 */

const secrets: readonly [RegExp, string][] = [
  [/AGE-SECRET-KEY-[A-Z0-9-]+/g, '<secret>'],
  [/whsec_[A-Za-z0-9+/=]+/g, '<secret>'],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g, '<secret>'],
  [/\b(Bearer|Basic|Token) +[\w.~+/=-]+/gi, '$1 <secret>'],
  // User and password in an address.
  [/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, '$1<secret>@'],
  // Tokens of ours, and hashes, which help nobody either.
  [/\b[0-9a-f]{64}(\.[0-9a-f]{64})?\b/g, '<secret>'],
  [
    /("?\w*(?:password|passwd|secret|token|apikey|api_key)\w*"?\s*[:=]\s*)("[^"\n]*"|[^\s,}"]+)/gi,
    '$1"<secret>"',
  ],
];

const mac = /\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b/gi;
const ipv4 = /\b(?:\d{1,3}\.){3}\d{1,3}\b/g;
const ipv6 = /(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])/gi;
const mail = /\b[\w.+-]+@[\w-]+\.[\w.-]+\b/g;

const isLocal = (address: string): boolean => /^(127\.|0\.0\.0\.0$|255\.)/.test(address);

/** `names`: ids of clusters, nodes and guests, host names; the longest is taken out first. */
export function redact(text: string, names: readonly string[]): string {
  const known = new Map<string, string>();
  const counts = new Map<string, number>();
  const pseudonym = (kind: string, value: string): string => {
    const key = `${kind} ${value.toLowerCase()}`;
    const earlier = known.get(key);
    if (earlier !== undefined) return earlier;
    const next = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, next);
    const name = `${kind}-${next}`;
    known.set(key, name);
    return name;
  };
  let told = text;
  for (const [pattern, instead] of secrets) told = told.replaceAll(pattern, instead);
  told = told
    .replaceAll(mac, (value) => pseudonym('mac', value))
    .replaceAll(mail, (value) => pseudonym('mail', value))
    .replaceAll(ipv4, (value) => (isLocal(value) ? value : pseudonym('ip', value)))
    .replaceAll(ipv6, (value) => pseudonym('ip', value));
  for (const name of [...new Set(names)].sort((a, b) => b.length - a.length)) {
    if (name.length < 3) continue;
    const escaped = name.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    const whole = new RegExp(`(?<![\\w-])${escaped}(?![\\w-])`, 'gi');
    told = told.replaceAll(whole, () => pseudonym('name', name));
  }
  return told;
}
