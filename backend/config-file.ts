/**
 * kernreaktor.yaml: clusters, nodes and policies as code. Checked whole before anything of it is
 * applied; every problem names line and column. `kernreaktor config check` prints the same.
 */
import { z } from 'zod';
import { CommandKind } from '../broker/contract/command.ts';
import { ClusterId, NodeId } from '../broker/contract/ids.ts';
import { beyondCeilings, type Policy, PolicyInput } from './decide/policy.ts';
import {
  explainIssues,
  isStrategy,
  resolvePolicy,
  strategies,
  strategyNames,
} from './decide/strategies.ts';
import { type FileProblem, type Located, readYaml } from './located.ts';
import { storedForm } from './policy-file.ts';
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

const fileWith = <T extends z.ZodType>(policy: T) =>
  z.strictObject({
    clusters: z.record(ClusterId, ClusterConfig).default({}),
    policies: z.record(PolicyName, policy).default({}),
    power: PowerFile.optional(),
  });

/** Policies stand on one another, so each is checked once it is whole. */
const File = fileWith(z.unknown());

export type ConfigFile = {
  clusters: Record<string, z.infer<typeof ClusterConfig>>;
  power: z.infer<typeof PowerFile> | undefined;
  policies: Record<
    string,
    { policy: Policy; source: 'file' | 'shipped'; yaml: string; hash: string }
  >;
};
export type CheckedFile = { ok: true; file: ConfigFile } | { ok: false; problems: FileProblem[] };

/** JSON Schema of the file, for editors. */
export const configSchema = (): object => z.toJSONSchema(fileWith(PolicyInput), { io: 'input' });

/** Shipped policies that clusters name. */
const usedStrategies = ({ clusters }: z.infer<typeof File>): Record<string, PolicyInput> =>
  Object.fromEntries(
    Object.values(clusters).flatMap(({ policy }) =>
      policy !== undefined && isStrategy(policy) ? [[policy, strategies[policy].policy]] : [],
    ),
  );

type Policies = Readonly<Record<string, Policy>>;

/** What no single value shows. */
function contradictions(file: z.infer<typeof File>, policies: Policies): Located[] {
  return [
    ...shadowing(file),
    ...excesses(file.clusters, policies),
    ...clusterContradictions(file),
    ...powerContradictions(file.power, file.clusters),
  ];
}

const shadowing = ({ policies }: z.infer<typeof File>): Located[] =>
  Object.keys(policies)
    .filter(isStrategy)
    .map((name) => ({
      path: ['policies', name],
      hint: `is the name of a shipped policy; take another and write extends: ${name}`,
    }));

/** Limits above the ceilings, in policies that not only simulated clusters use. */
function excesses(clusters: z.infer<typeof File>['clusters'], policies: Policies): Located[] {
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
    const { policy } = cluster;
    if (policy !== undefined && !(policy in file.policies) && !isStrategy(policy)) {
      const names = [...Object.keys(file.policies), ...strategyNames].join(', ');
      found.push({
        path: ['clusters', id, 'policy'],
        hint: `names no policy of this file, nor a shipped one (${names})`,
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

/** Parses and checks the text of a file; applies nothing. */
export function checkConfigFile(text: string): CheckedFile {
  const read = readYaml(text);
  if (!read.ok) return read;
  const { value, locate } = read;
  const parsed = File.safeParse(value ?? {});
  if (!parsed.success) {
    return { ok: false, problems: explainIssues(parsed.error.issues).map(locate) };
  }
  const named = { ...parsed.data.policies, ...usedStrategies(parsed.data) };
  const resolved = Object.entries(named).map(
    ([name, own]) => [name, resolvePolicy(own, parsed.data.policies, name)] as const,
  );
  const wrong = resolved.flatMap(([name, found]) =>
    found.ok
      ? []
      : found.problems.map(({ path, hint }) => ({ path: ['policies', name, ...path], hint })),
  );
  if (wrong.length > 0) return { ok: false, problems: wrong.map(locate) };
  const policies = Object.fromEntries(
    resolved.flatMap(([name, found]) => (found.ok ? [[name, found.policy] as const] : [])),
  );
  const contradicting = contradictions(parsed.data, policies);
  if (contradicting.length > 0) return { ok: false, problems: contradicting.map(locate) };
  const stored = Object.entries(policies).map(([name, policy]) => {
    const source = isStrategy(name) ? ('shipped' as const) : ('file' as const);
    return [name, { policy, source, ...storedForm(policy) }] as const;
  });
  const { clusters, power } = parsed.data;
  return { ok: true, file: { clusters, power, policies: Object.fromEntries(stored) } };
}
