/**
 * The policies that are shipped, as data, and how one policy stands on another: what it does not
 * say itself it has from the one it `extends`. Objects are joined field by field, lists and values
 * are replaced whole. Pure.
 */
import { Policy, type PolicyInput } from './policy.ts';

type Tree = Readonly<Record<string, unknown>>;
export type Strategy = { about: string; policy: PolicyInput };

const hour = 3_600_000;

/** Each is explained with an example in docs/policies.md. */
export const strategies = {
  balance: {
    about: 'relieves hot nodes; nothing sleeps',
    policy: {},
  },
  'save-power': {
    about: 'relieves hot nodes, empties what costs least to empty, and lets it sleep',
    policy: {
      relieve: { cpuRatio: { above: 0.85, clear: 0.75, forMs: 120_000 } },
      save: { mode: 'on', everyMs: 300_000, spareRatio: 0.4, sigmas: 1.5, fillRatio: 0.75 },
    },
  },
  performance: {
    about: 'relieves early and leaves room; nothing sleeps',
    policy: {
      relieve: {
        cpuRatio: { above: 0.7, clear: 0.6, forMs: 120_000 },
        sigmas: 1.6,
        urgent: { above: 0.9, forMs: 60_000 },
      },
    },
  },
  maintenance: {
    about: 'while people work on the hosts: only what is very hot for long is moved, one at a time',
    policy: {
      relieve: { cpuRatio: { above: 0.95, clear: 0.85, forMs: 600_000 } },
      limits: { migrationsPerCluster: 1, migrationsPerHour: 4 },
    },
  },
  timetable: {
    about: 'save-power outside of working hours; every node is awake in them',
    policy: {
      extends: 'save-power',
      calendar: [
        { what: 'working hours', cron: '0 7 * * 1-5', durationMs: 11 * hour, zone: 'UTC' },
      ],
    },
  },
} as const satisfies Record<string, Strategy>;

export const strategyNames = Object.keys(strategies);

export const isStrategy = (name: string): name is keyof typeof strategies =>
  Object.hasOwn(strategies, name);

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `own` over `base`. */
function joined(base: Tree, own: Tree): Tree {
  const result: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(own)) {
    const before = result[name];
    result[name] = isTree(before) && isTree(value) ? joined(before, value) : value;
  }
  return result;
}

export type PolicyProblem = { path: PropertyKey[]; hint: string };
export type Resolved = { ok: true; policy: Policy } | { ok: false; problems: PolicyProblem[] };

type Chain = { ok: true; tree: Tree } | { ok: false; hint: string };

/** Everything a policy stands on, joined; `of` are policies that may be named beside the shipped. */
function standing(own: Tree, of: Tree, way: readonly string[]): Chain {
  const { extends: base, ...rest } = own;
  if (base === undefined) return { ok: true, tree: rest };
  const names = [...strategyNames, ...Object.keys(of)].join(', ');
  if (typeof base !== 'string') return { ok: false, hint: `expected a name: ${names}` };
  if (way.includes(base)) {
    return { ok: false, hint: `leads back to itself: ${[...way, base].join(' -> ')}` };
  }
  const found = isStrategy(base) ? strategies[base].policy : of[base];
  if (!isTree(found)) return { ok: false, hint: `names no policy; there are ${names}` };
  const below = standing(found, of, [...way, base]);
  return below.ok ? { ok: true, tree: joined(below.tree, rest) } : below;
}

export const explainIssues = (
  issues: readonly { code?: string; path: PropertyKey[]; message: string; keys?: string[] }[],
): PolicyProblem[] =>
  issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? (issue.keys ?? []).map((key) => ({
          path: [...issue.path, key],
          hint: 'is not a known key',
        }))
      : [{ path: issue.path, hint: issue.message }],
  );

/**
 * The whole policy that a text means.
 * @param name its own name, so that it cannot stand on itself
 */
export function resolvePolicy(own: unknown, of: Tree = {}, name = ''): Resolved {
  if (!isTree(own)) return { ok: false, problems: [{ path: [], hint: 'expected an object' }] };
  const chain = standing(own, of, name === '' ? [] : [name]);
  if (!chain.ok) return { ok: false, problems: [{ path: ['extends'], hint: chain.hint }] };
  const parsed = Policy.safeParse(chain.tree);
  return parsed.success
    ? { ok: true, policy: parsed.data }
    : { ok: false, problems: explainIssues(parsed.error.issues) };
}

/** The policy of a shipped name. */
export function shippedPolicy(name: keyof typeof strategies): Policy {
  const resolved = resolvePolicy(strategies[name].policy);
  if (!resolved.ok) throw new Error(`${name}: ${JSON.stringify(resolved.problems)}`);
  return resolved.policy;
}
