/**
 * Errors planted into copies of the guards: each must show as a dangerous disagreement, or the
 * proposals of R17 do not look where it hurts. One line each, as a tired author would write it.
 */
export type Mutant = { name: string; file: string; from: string; to: string };

const act = (name: string, file: string, from: string, to: string): Mutant => ({
  name,
  file: `backend/act/${file}`,
  from,
  to,
});

export const mutants: readonly Mutant[] = [
  act('counts silent nodes', 'guards-quorum.ts', 'isFresh(node) &&\n      !power', '!power'),
  act(
    'forgets the spare',
    'guards-quorum.ts',
    'if (worstVotes >= quorumVotes) return null;',
    'if (worstVotes + 1 >= quorumVotes) return null;',
  ),
  act(
    'believes contradictions',
    'guards-quorum.ts',
    'if (isContradicted(quorum, staying)) return null;',
    '',
  ),
  act(
    'forgets the restless services',
    'guards-quorum.ts',
    "['fence', 'recovery', 'migrate', 'relocate', 'error']",
    "['fence']",
  ),
  act(
    'takes any shutdown policy',
    'guards-quorum.ts',
    '!shutdownPolicies.includes(ha.shutdownPolicy)',
    'false',
  ),
  act(
    'believes every table',
    'guards-wake.ts',
    'wakePath(facts, (id) => holders.includes(id))',
    'wakePath(facts)',
  ),
  act('counts an old device', 'quorum.ts', 'view.seenAgeMs <= qdeviceFreshMs', 'true'),
  act(
    'halves without one more',
    'quorum.ts',
    'Math.floor(expected / 2) + 1',
    'Math.floor(expected / 2)',
  ),
  act(
    'counts stopped only',
    'guards-power.ts',
    'const left = node.runningGuests - parked;',
    'const left = Math.max(0, node.runningGuests - parked - 1);',
  ),
  act(
    'forgets guests on the way',
    'guards-power.ts',
    "kind.startsWith('guest.') &&",
    "kind === 'guest.create' &&",
  ),
  act('forgets the busy node', 'guards-power.ts', 'if (busy[0]) {', 'if (busy[1]) {'),
  act(
    'forgets the doubtful power-off',
    'guards-power.ts',
    'powerOffs.length < powerOffsMax && !doubtful',
    'powerOffs.length <= powerOffsMax',
  ),
  act(
    'takes two proofs',
    'wake-ways.ts',
    'export const proofsMin = 3;',
    'export const proofsMin = 2;',
  ),
  act('takes proofs of other hardware', 'wake-ways.ts', 'row.binding_hash === hash &&', ''),
  act(
    'wakes by an unarmed card',
    'guards-wake.ts',
    'links.filter(({ wakeOnMagic }) => wakeOnMagic === true)',
    'links',
  ),
  act(
    'forgets the quarantine',
    'guards-wake.ts',
    '(node?.quarantinedUntilMs ?? 0) > nowMs',
    '(node?.quarantinedUntilMs ?? 0) < 0',
  ),
  act('forgets the uptime', 'guards-wake.ts', '(uptimeMs ?? 0) < limits.minUptimeMs', 'false'),
  act(
    'moves to any cpu',
    'guards-guest.ts',
    'if (from.cpuVendor !== to.cpuVendor) {',
    'if (from.cpuVendor === null) {',
  ),
  act(
    'moves bound guests',
    'guards-guest.ts',
    'if (resources[0] !== undefined) {',
    'if (resources[1] !== undefined) {',
  ),
  act(
    'asks no consent',
    'guards-guest.ts',
    'restarts && mayRestart !== true',
    'restarts && mayRestart === false',
  ),
  act(
    'moves where it may not',
    'guards-guest.ts',
    'allowed === null || allowed.includes(to)',
    'true',
  ),
  act('forgets the past load', 'guards-memory.ts', 'Math.max(now, past ?? 0)', 'now'),
  act(
    'takes the clock for right',
    'guards-cluster.ts',
    'Math.abs(offset) <= clockOffsetMaxMs',
    'offset <= clockOffsetMaxMs',
  ),
  act(
    'takes an old sample',
    'guards-cluster.ts',
    'executor && isFresh(executor)',
    'executor?.online',
  ),
  act('scales without a policy', 'guards-scale.ts', "origin !== 'engine' || isInside", 'true'),
  act(
    'takes the precious node',
    'guards-storage.ts',
    'kept.length === 0\n        ? null',
    'true\n        ? null',
  ),
];
