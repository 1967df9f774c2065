/**
 * What LXD and Incus answer, as far as it is used: zod schemas of the REST API 1.0, and how their
 * sizes and cpu lists are written. Unknown keys are ignored, since each release adds some. Source:
 * the API's own specification (`/1.0` of a server, `doc/rest-api.yaml`) and a server 5.0.2.
 */
import { z } from 'zod';

const Texts = z.record(z.string(), z.string());
const count = z.number().min(0);

export const Server = z.object({
  /** `untrusted` is answered, too, but told nothing. */
  auth: z.string().default('trusted'),
  environment: z
    .object({
      server: z.string().default('lxd'),
      server_version: z.string().default(''),
      server_name: z.string().default(''),
      server_clustered: z.boolean().default(false),
      kernel_version: z.string().nullable().default(null),
    })
    .prefault({}),
});
export type Server = z.infer<typeof Server>;

const Counters = z.object({
  bytes_received: z.number().default(0),
  bytes_sent: z.number().default(0),
});

const State = z.object({
  status: z.string(),
  pid: z.number().default(0),
  cpu: z.object({ usage: z.number() }).nullish(),
  memory: z.object({ usage: z.number().default(0), swap_usage: z.number().default(0) }).nullish(),
  network: z
    .record(z.string(), z.object({ type: z.string().default(''), counters: Counters.nullish() }))
    .nullish(),
});

const Snapshot = z.object({ name: z.string(), created_at: z.iso.datetime({ offset: true }) });

export const Instance = z.object({
  name: z.string(),
  project: z.string().default('default'),
  type: z.enum(['container', 'virtual-machine']),
  status: z.string(),
  /** Member of a cluster; `none` on a server of its own. */
  location: z.string().default('none'),
  config: Texts.default({}),
  expanded_config: Texts.default({}),
  expanded_devices: z.record(z.string(), Texts).default({}),
  last_used_at: z.iso.datetime({ offset: true }).nullish(),
  state: State.nullish(),
  snapshots: z.array(Snapshot).nullish(),
});
export type Instance = z.infer<typeof Instance>;
export const Instances = z.array(Instance);

export const Resources = z.object({
  cpu: z.object({ total: count }),
  memory: z.object({ used: count, total: count }),
});

export const Profile = z.object({ devices: z.record(z.string(), Texts).default({}) });

/** 200 = success, 400 and 401 = failed or cancelled; 1xx = at work. */
export const Operation = z
  .object({
    id: z.uuid(),
    status: z.string(),
    status_code: z.number(),
    err: z.string().nullish(),
    created_at: z.iso.datetime({ offset: true }),
  })
  .transform(({ id, status, status_code: code, err, created_at }) => ({
    id,
    status,
    isOver: code >= 200,
    isOk: code === 200,
    error: err ?? '',
    createdAtMs: Date.parse(created_at),
  }));
export type Operation = z.output<typeof Operation>;

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  PiB: 2 ** 50,
};

/** `512MiB` -> bytes, `50%` -> share of `wholeBytes`; null when it says nothing. */
export function bytesOf(text: string | undefined, wholeBytes: number | null): number | null {
  const match = /^(\d+)\s*([A-Za-z]*|%)$/.exec(text ?? '');
  if (!match) return null;
  const value = Number(match[1]);
  if (match[2] === '%') return wholeBytes === null ? null : Math.floor((wholeBytes * value) / 100);
  const unit = units[match[2] ?? ''];
  return unit === undefined ? null : value * unit;
}

/** `4` -> 4, `0-3,6` -> 5; null when nothing is set or it cannot be read. */
export function cpuCountOf(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  if (/^\d+$/.test(text)) return Number(text);
  let total = 0;
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (!match) return null;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first) return null;
    total += last - first + 1;
  }
  return total;
}

/** `150ms/100ms` -> 1.5 cpus, a hard limit; null for a share such as `50%`, which is none. */
export function cpuLimitOf(text: string | undefined): number | null {
  const match = /^(\d+)ms\/(\d+)ms$/.exec(text ?? '');
  const period = Number(match?.[2]);
  return match && period > 0 ? Number(match[1]) / period : null;
}
