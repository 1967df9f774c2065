/**
 * What is worth telling somebody, judged from a picture of now: each rule answers what is so, and
 * where it cannot tell, so that a restart of the server resolves nothing. Pure; a notice opens when
 * its condition is there and is over when it is not.
 */
import type { NodeState } from '../state/fleet.ts';
import type { Severity } from './channels.ts';

export const ruleNames = [
  'wake-failed',
  'indeterminate',
  'hold',
  'n-1',
  'node-lost',
  'guest-dead',
  'certificate',
  'wake-proof',
  'approval',
  'backup',
  'morning',
] as const;
export type RuleName = (typeof ruleNames)[number];

export type Condition = {
  rule: RuleName;
  severity: Severity;
  cluster: string | null;
  /** What it is about; with rule and cluster the identity of the notice. */
  subject: string;
  title: string;
  text: string;
  /** Must be so this long before anybody is told. */
  forMs: number;
  /** A command that waits for approval. */
  commandId?: string;
};

export type NodeView = {
  cluster: string;
  node: string;
  state: NodeState;
  desired: 'awake' | 'asleep';
  simulated: boolean;
  memoryTotalBytes: number | null;
  memoryUsedBytes: number | null;
  /** What its running guests may come to use. */
  guestsBytes: number;
};

export type CommandView = {
  id: string;
  cluster: string;
  kind: string;
  target: string;
  sinceMs: number;
  reason: string | null;
};

export type Picture = {
  nowMs: number;
  nodes: readonly NodeView[];
  indeterminate: readonly CommandView[];
  awaitingApproval: readonly CommandView[];
  /** The newest wake of each node, where it failed. */
  failedWakes: readonly CommandView[];
  holds: readonly { cluster: string | null; sinceMs: number; reason: string | null }[];
  certificateEndsAtMs: number | null;
  /** Nodes that may sleep now, and until when their proof counts. */
  proofs: readonly { cluster: string; node: string; endsAtMs: number }[];
  backupProblem: string | null;
  /** Guests that died too often and are not started any more. */
  givenUp?: readonly { cluster: string; guest: string; sinceMs: number }[];
};

/** `unsure`: keys of notices about which this picture says nothing. */
export type Judged = { conditions: Condition[]; unsure: ReadonlySet<string> };

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const indeterminateAfterMs = 5 * minuteMs;
const holdAfterMs = 24 * hourMs;
const endsSoonMs = 14 * dayMs;
const proofEndsSoonMs = 5 * dayMs;

export const keyOf = ({
  rule,
  cluster,
  subject,
}: Pick<Condition, 'rule' | 'cluster' | 'subject'>) =>
  `${rule}|${cluster ?? ''}|${subject}`.slice(0, 255);

const days = (ms: number): string => `${Math.max(0, Math.floor(ms / dayMs))} days`;
const date = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

const ofCommand = ({ cluster, id, target }: CommandView) => ({
  cluster,
  subject: id,
  title: `${target} of ${cluster}`,
  forMs: 0,
});

function* commandConditions(picture: Picture): Generator<Condition> {
  const awake = new Set(
    picture.nodes
      .filter(({ state }) => state === 'awake')
      .map(({ cluster, node }) => `${cluster}/${node}`),
  );
  for (const command of picture.failedWakes) {
    if (awake.has(`${command.cluster}/${command.target}`)) continue;
    const text = `${command.reason ?? 'It did not come back'}. Switch it on by hand, then look why.`;
    const title = `${command.target} of ${command.cluster} did not wake`;
    yield { ...ofCommand(command), rule: 'wake-failed', severity: 'critical', title, text };
  }
  for (const command of picture.indeterminate) {
    if (picture.nowMs - command.sinceMs < indeterminateAfterMs) continue;
    yield {
      ...ofCommand(command),
      rule: 'indeterminate',
      severity: 'critical',
      title: `Nobody knows what became of ${command.kind} of ${command.target}`,
      text: `${command.reason ?? 'No answer'}. Look, then: kernreaktor resolve ${command.id}`,
    };
  }
  for (const command of picture.awaitingApproval) {
    yield {
      ...ofCommand(command),
      rule: 'approval',
      severity: 'warning',
      title: `May I? ${command.kind} ${command.target} of ${command.cluster}`,
      text: `${command.reason ?? ''} Or: kernreaktor approve ${command.id}`.trim(),
      commandId: command.id,
    };
  }
}

function* guestConditions({ givenUp = [] }: Picture): Generator<Condition> {
  for (const { cluster, guest } of givenUp) {
    yield {
      rule: 'guest-dead',
      severity: 'critical',
      cluster,
      subject: guest,
      title: `${guest} of ${cluster} keeps dying`,
      text: `It was started again and again, and is given up. kernreaktor why ${guest}`,
      forMs: 0,
    };
  }
}

function* houseConditions(picture: Picture): Generator<Condition> {
  const { nowMs, holds, certificateEndsAtMs, proofs, backupProblem } = picture;
  for (const { cluster, sinceMs, reason } of holds) {
    if (nowMs - sinceMs < holdAfterMs) continue;
    const subject = cluster ?? 'everything';
    const title = `${subject} has been on HOLD for ${Math.floor((nowMs - sinceMs) / hourMs)} h`;
    const text = `${reason ?? 'No reason was given'}. kernreaktor hold --release ends it.`;
    yield { rule: 'hold', severity: 'warning', cluster, subject, title, text, forMs: 0 };
  }
  if (certificateEndsAtMs !== null && certificateEndsAtMs - nowMs < endsSoonMs) {
    yield {
      rule: 'certificate',
      severity: 'warning',
      cluster: null,
      subject: 'tls',
      title: `The TLS certificate ends in ${days(certificateEndsAtMs - nowMs)}`,
      text: `It ends on ${date(certificateEndsAtMs)}: daemons and browsers refuse it from then on.`,
      forMs: 0,
    };
  }
  for (const { cluster, node, endsAtMs } of proofs) {
    if (endsAtMs - nowMs >= proofEndsSoonMs) continue;
    yield {
      rule: 'wake-proof',
      severity: 'info',
      cluster,
      subject: node,
      title: `The proof that ${node} of ${cluster} wakes ends in ${days(endsAtMs - nowMs)}`,
      text: `Then it sleeps no more. kernreaktor prove-wake ${cluster}/${node}`,
      forMs: 0,
    };
  }
  if (backupProblem !== null) {
    yield {
      rule: 'backup',
      severity: 'warning',
      cluster: null,
      subject: 'backup',
      title: 'No backup is being made',
      text: backupProblem,
      forMs: 0,
    };
  }
}

function lostCondition({ cluster, node }: NodeView): Condition {
  return {
    rule: 'node-lost',
    severity: 'critical',
    cluster,
    subject: node,
    title: `${node} of ${cluster} is lost`,
    text: 'Its daemon has not been heard for minutes, and nobody put it to sleep.',
    forMs: 0,
  };
}

/** null: nobody can say. Nodes that sleep as they were told to are reserve. */
function reserveCondition(cluster: string, nodes: readonly NodeView[]): Condition | null {
  const awake = nodes.filter(({ state }) => state === 'awake');
  const [largest] = awake.toSorted((a, b) => b.guestsBytes - a.guestsBytes);
  if (!largest || nodes.length < 2 || largest.guestsBytes === 0) return null;
  const reserve = nodes.filter((node) => node !== largest && node.state !== 'lost');
  const free = reserve.reduce((total, node) => {
    const used = node.state === 'awake' ? (node.memoryUsedBytes ?? 0) : 0;
    return total + Math.max(0, (node.memoryTotalBytes ?? 0) - used);
  }, 0);
  if (largest.guestsBytes <= free) return null;
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return {
    rule: 'n-1',
    severity: 'warning',
    cluster,
    subject: cluster,
    title: `${cluster} could not bear the loss of ${largest.node}`,
    text:
      `Its guests may need ${gib(largest.guestsBytes)}, and all other nodes together have ` +
      `${gib(free)} free.`,
    forMs: 5 * minuteMs,
  };
}

function judgeNodes(nodes: readonly NodeView[]): Judged {
  const conditions: Condition[] = [];
  const unsure = new Set<string>();
  const byCluster = Map.groupBy(nodes, ({ cluster }) => cluster);
  for (const [cluster, all] of byCluster) {
    for (const node of all) {
      const lost = lostCondition(node);
      if (node.state === 'lost') conditions.push(lost);
      if (node.state === 'unknown' || node.state === 'stale') unsure.add(keyOf(lost));
    }
    const counted = all.filter(({ state }) => state !== 'maintenance');
    if (counted.some(({ state }) => state === 'unknown' || state === 'stale')) {
      unsure.add(keyOf({ rule: 'n-1', cluster, subject: cluster }));
      continue;
    }
    const broken = reserveCondition(cluster, counted);
    if (broken) conditions.push(broken);
  }
  return { conditions, unsure };
}

export function judge(picture: Picture): Judged {
  const { conditions, unsure } = judgeNodes(picture.nodes.filter(({ simulated }) => !simulated));
  return {
    conditions: [
      ...conditions,
      ...commandConditions(picture),
      ...guestConditions(picture),
      ...houseConditions(picture),
    ],
    unsure,
  };
}
