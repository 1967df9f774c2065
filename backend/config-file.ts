/**
 * kernreaktor.yaml: clusters, nodes and policies as code. Checked whole before anything of it is
 * applied; every problem names line and column. `kernreaktor config check` prints the same.
 */
import { createHash } from 'node:crypto';
import { LineCounter, parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { CommandKind } from '../broker/contract/command.ts';
import { ClusterId, NodeId } from '../broker/contract/ids.ts';
import { beyondCeilings, Policy } from './decide/policy.ts';
import { NodePower, powerContradictions, PowerFile } from './power/settings.ts';

const Autonomy = z.enum(['observe', 'recommend', 'approve', 'auto']);
const PolicyName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'use lower-case letters, digits and hyphens');

const ClusterConfig = z.strictObject({
  policy: PolicyName.optional(),
  autonomy: z.partialRecord(z.union([CommandKind, z.literal('default')]), Autonomy).optional(),
  /** Fixed when the cluster's row is created. */
  simulated: z.boolean().optional(),
  timeScale: z.number().min(1).max(3_600).optional(),
  nodes: z
    .record(
      NodeId,
      z.strictObject({ protected: z.boolean().optional(), power: NodePower.optional() }),
    )
    .optional(),
});

const File = z.strictObject({
  clusters: z.record(ClusterId, ClusterConfig).default({}),
  policies: z.record(PolicyName, Policy).default({}),
  power: PowerFile.optional(),
});

export type ConfigFile = {
  clusters: Record<string, z.infer<typeof ClusterConfig>>;
  power?: z.infer<typeof PowerFile> | undefined;
  policies: Record<string, { policy: Policy; yaml: string; hash: string }>;
};
export type FileProblem = { line: number; column: number; field: string; hint: string };
export type CheckedFile = { ok: true; file: ConfigFile } | { ok: false; problems: FileProblem[] };

/** JSON Schema of the file, for editors. */
export const configSchema = (): object => z.toJSONSchema(File, { io: 'input' });

type Located = { path: PropertyKey[]; hint: string };

/** What no single value shows. */
function contradictions(file: z.infer<typeof File>): Located[] {
  return [
    ...excesses(file),
    ...clusterContradictions(file),
    ...powerContradictions(file.power, file.clusters),
  ];
}

/** Limits above the ceilings, in policies that not only simulated clusters use. */
function excesses({ clusters, policies }: z.infer<typeof File>): Located[] {
  return Object.entries(policies).flatMap(([name, policy]) => {
    const users = Object.values(clusters).filter((cluster) => cluster.policy === name);
    const isReal = users.length === 0 || users.some(({ simulated }) => simulated !== true);
    if (!isReal) return [];
    return beyondCeilings(policy).map(({ field, hint }) => ({
      path: ['policies', name, 'limits', field],
      hint,
    }));
  });
}

function clusterContradictions(file: z.infer<typeof File>): Located[] {
  return Object.entries(file.clusters).flatMap(([id, cluster]) => {
    const found: Located[] = [];
    if (cluster.policy !== undefined && !(cluster.policy in file.policies)) {
      const names = Object.keys(file.policies).join(', ') || 'none is defined';
      found.push({
        path: ['clusters', id, 'policy'],
        hint: `names no policy of this file (${names})`,
      });
    }
    if ((cluster.timeScale ?? 1) > 1 && cluster.simulated !== true) {
      found.push({
        path: ['clusters', id, 'timeScale'],
        hint: 'only a simulated cluster may run faster than time; set simulated: true',
      });
    }
    return found;
  });
}

const explain = (issue: z.core.$ZodIssue): Located[] =>
  issue.code === 'unrecognized_keys'
    ? issue.keys.map((key) => ({ path: [...issue.path, key], hint: 'is not a known key' }))
    : [{ path: issue.path, hint: issue.message }];

/** Parses and checks the text of a file; applies nothing. */
export function checkConfigFile(text: string): CheckedFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    return {
      ok: false,
      problems: document.errors.map((error) => {
        const { line, col } = lines.linePos(error.pos[0]);
        return { line, column: col, field: 'yaml', hint: error.message.split('\n')[0] ?? '' };
      }),
    };
  }
  const locate = ({ path, hint }: Located): FileProblem => {
    for (let depth = path.length; depth >= 0; depth -= 1) {
      const at = path
        .slice(0, depth)
        .map((part) => (typeof part === 'number' ? part : String(part)));
      const node = depth === 0 ? document.contents : document.getIn(at, true);
      const range = (node as { range?: [number, number, number] } | null | undefined)?.range;
      if (!range) continue;
      const { line, col } = lines.linePos(range[0]);
      return { line, column: col, field: path.map(String).join('.') || 'file', hint };
    }
    return { line: 1, column: 1, field: path.map(String).join('.') || 'file', hint };
  };
  const parsed = File.safeParse(document.toJS() ?? {});
  if (!parsed.success) {
    return { ok: false, problems: parsed.error.issues.flatMap(explain).map(locate) };
  }
  const wrong = contradictions(parsed.data);
  if (wrong.length > 0) return { ok: false, problems: wrong.map(locate) };
  const policies = Object.entries(parsed.data.policies).map(([name, policy]) => {
    const yaml = stringify(policy);
    return [name, { policy, yaml, hash: createHash('sha256').update(yaml).digest('hex') }] as const;
  });
  return {
    ok: true,
    file: {
      clusters: parsed.data.clusters,
      policies: Object.fromEntries(policies),
      power: parsed.data.power,
    },
  };
}
