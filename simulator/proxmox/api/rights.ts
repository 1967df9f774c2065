/**
 * Who may ask the fake API for what: privileges by path, inherited downwards, and the words in
 * which Proxmox refuses.
 */

export type Token = { id: string; secret: string; rights: Map<string, ReadonlySet<string>> };

/** An answer other than 200: the reason stands in the status line, as Proxmox writes it. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly code = 'KR_FAKE_API';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export const allPrivileges = [
  'Sys.Audit',
  'Sys.PowerMgmt',
  'Sys.Syslog',
  'VM.Audit',
  'VM.Migrate',
  'VM.PowerMgmt',
  'VM.Config.CPU',
  'VM.Config.Memory',
  'Datastore.Audit',
] as const;

/** The nearest entry above a path counts: one further down replaces what it inherits. */
export function rightsAt({ rights }: Token, path: string): ReadonlySet<string> {
  for (let at = path; ; at = at.slice(0, at.lastIndexOf('/')) || '/') {
    const own = rights.get(at);
    if (own !== undefined) return own;
    if (at === '/') return new Set();
  }
}

export const has = (token: Token, path: string, privilege: string): boolean =>
  rightsAt(token, path).has(privilege);

export function require(token: Token, path: string, ...privileges: readonly string[]): void {
  const missing = privileges.find((privilege) => !has(token, path, privilege));
  if (missing !== undefined) {
    throw new ApiFailure(403, `Permission check failed (${path}, ${missing})`);
  }
}

/** `/access/permissions`: effective rights on the paths that Proxmox always lists. */
export function permissions(token: Token): Record<string, Record<string, 1>> {
  const paths = ['/', '/access', '/nodes', '/pool', '/sdn', '/storage', '/vms'];
  return Object.fromEntries(
    [...new Set([...paths, ...token.rights.keys()])].map((path) => [
      path,
      Object.fromEntries([...rightsAt(token, path)].map((name) => [name, 1 as const])),
    ]),
  );
}

/** @throws ApiFailure as Proxmox words it. */
export function authenticate(tokens: readonly Token[], header: string | undefined): Token {
  const [, id, secret] = /^PVEAPIToken=([^=]+)=(.+)$/.exec(header ?? '') ?? [];
  if (id === undefined) throw new ApiFailure(401, 'No ticket');
  const token = tokens.find((other) => other.id === id);
  if (token === undefined) {
    throw new ApiFailure(
      401,
      `no such token '${id.split('!')[1] ?? ''}' for user '${id.split('!')[0]}'`,
    );
  }
  if (token.secret !== secret) throw new ApiFailure(401, 'invalid token value!');
  return token;
}
