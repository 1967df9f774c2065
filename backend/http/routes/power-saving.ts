/**
 * What a person wants to see before and after a node sleeps by itself: who runs on it and whether
 * each may leave, what its proofs measured, whether its policy saves at all, and what was saved.
 */
import { parse } from 'yaml';
import { z } from 'zod';
import { nodeKey } from '../../../broker/contract/ids.ts';
import { wishedLevel } from '../../act/autonomy.ts';
import { isParkable } from '../../act/guard-node.ts';
import { boundReason, isPinnedTo } from '../../decide/constraints.ts';
import { guestRules } from '../../decide/guest-rules.ts';
import { Policy } from '../../decide/policy.ts';
import {
  type Drawn,
  drawnBefore,
  type NodeAt,
  powerChanges,
  type Sleep,
  sleepSpans,
} from '../../power/sleeps.ts';
import type { ClusterRecord, NodeRecord } from '../../state/fleet.ts';
import { isHeard } from '../../state/node-state.ts';
import type { WakeProofs } from '../../store/sql/schema.ts';
import { controlReads } from '../../store/sql/control-rows.ts';
import { policyOfHash } from '../../store/sql/policies.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { At, ByNode, isoOf, problems } from '../schemas.ts';
import { Autonomy } from '../views.ts';

const Watts = z.number().nullable().describe('Mean draw, W; null where nobody measured it');

const PowerSaving = z.object({
  residents: z
    .array(
      z.object({
        id: z.string(),
        name: z.string(),
        way: z.enum(['moves', 'parks', 'stays']),
        why: z.string().nullable().describe('What keeps it; null where nothing does'),
      }),
    )
    .nullable()
    .describe('Guests that are not stopped; null while nobody has told them'),
  cycles: z
    .array(
      z.object({
        at: At,
        succeeded: z.boolean(),
        bootMs: z.number().nullable(),
        watts: Watts,
        isEstimated: z.boolean(),
      }),
    )
    .describe('Tried wakes, newest first'),
  policy: z.object({
    name: z.string(),
    saves: z.boolean().describe('Whether anything ever sleeps under it'),
    moves: Autonomy.describe('How far the engine may move guests by itself'),
  }),
  rest: z
    .object({
      movesPerDay: z.int().describe('Of one guest by the engine; the last is kept for relief'),
      until: At.nullable().describe(
        'Not emptied before that to save power, as guests on it have used up theirs, the moves for ' +
          'its proof included; null where that keeps nobody, or no day is enough',
      ),
    })
    .nullable(),
  saved: z
    .object({
      sleeps: z.int(),
      sleptMs: z.number(),
      isAsleep: z.boolean(),
      since: At,
      watts: Watts,
      isEstimated: z.boolean(),
      kwh: z.number().nullable(),
      money: z.number().nullable(),
      currency: z.string(),
    })
    .nullable()
    .describe('Of the last 30 days, proofs aside; null: it has not slept yet'),
});
export type PowerSaving = z.infer<typeof PowerSaving>;

const dayMs = 86_400_000;
const lookBackMs = 30 * dayMs;
const beforeMs = 5 * 60_000;
const pointMs = 5_000;
const cyclesShown = 10;
const drawnKept = 4_096;

type Resident = NonNullable<PowerSaving['residents']>[number];

function residentsOf(record: NodeRecord): Resident[] | null {
  const rules = guestRules(record);
  const guests = record.guests?.filter(({ state }) => state !== 'stopped') ?? null;
  return (
    guests?.map((guest): Resident => {
      const { id, name } = guest;
      if (isParkable(guest)) return { id, name, way: 'parks', why: null };
      if (guest.haState !== null) return { id, name, way: 'moves', why: 'HA moves it' };
      const bound = boundReason(guest, rules.get(id) ?? null);
      const why = bound ?? (isPinnedTo(guest, record.node) ? 'is tagged to stay' : null);
      return { id, name, way: why === null ? 'moves' : 'stays', why };
    }) ?? null
  );
}

type Metrics = Context['metrics'];
type Off = NodeAt & { offAtMs: number };
type Measure = (at: Off, fromMs: number) => Promise<Drawn>;

/** What was drawn before a power-off never changes, so that each is asked for once. */
function createMeasure(metrics: Metrics): Measure {
  const known = new Map<string, Drawn>();
  return async (at, fromMs) => {
    const key = `${at.cluster}/${at.node}/${at.offAtMs}`;
    const before = known.get(key);
    if (before) return before;
    const stepMs = Math.max(pointMs, metrics.finestStepMs(fromMs));
    const drawn = await drawnBefore(metrics, at, { fromMs, stepMs });
    // The last samples may still be on their way.
    if (drawn.watts === null) return drawn;
    if (known.size >= drawnKept) known.clear();
    known.set(key, drawn);
    return drawn;
  };
}

/** A cycle's draw is that between the end of the cycle before it and its own power-off. */
const cyclesOf = (measure: Measure, at: NodeAt, rows: readonly WakeProofs[]) =>
  Promise.all(
    rows.slice(0, cyclesShown).map(async (row, place) => {
      const { off_at_ms: offAtMs, boot_ms: bootMs, succeeded } = row;
      const fromMs = Math.max(rows[place + 1]?.created_at_ms ?? 0, offAtMs - beforeMs);
      const drawn = await measure({ ...at, offAtMs }, fromMs);
      return { at: isoOf(row.created_at_ms), succeeded: succeeded === 1, bootMs, ...drawn };
    }),
  );

/** A node that a hand switched on slept no longer than until then. */
function endedByHand(spans: Sleep[], record: NodeRecord, { monotonicMs, wallMs }: Nows): void {
  const last = spans.at(-1);
  const uptimeMs = record.values?.uptimeMs ?? null;
  if (last?.onAtMs !== null || !isHeard(record, monotonicMs) || uptimeMs === null) return;
  last.onAtMs = Math.max(last.offAtMs, wallMs - uptimeMs);
}

type Nows = { monotonicMs: number; wallMs: number };

async function savedBy(
  { database, notifier, clock }: Context,
  { record, cluster }: { record: NodeRecord; cluster: ClusterRecord },
  measure: Measure,
): Promise<PowerSaving['saved']> {
  const at = { cluster: record.cluster, node: record.node };
  const nows = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
  const sinceMs = nows.wallMs - lookBackMs;
  const spans = sleepSpans(await powerChanges(database.db, { sinceMs, of: at }));
  endedByHand(spans, record, nows);
  const [first] = spans;
  const last = spans.at(-1);
  if (!first || !last) return null;
  let [sleptMs, joules, knownMs] = [0, 0, 0];
  let isEstimated = false;
  for (const { offAtMs, onAtMs } of spans) {
    // Of a world whose time is faster, hours pass in minutes.
    const ms = ((onAtMs ?? nows.wallMs) - offAtMs) * cluster.timeScale;
    const drawn = await measure({ ...at, offAtMs }, offAtMs - beforeMs);
    sleptMs += ms;
    if (drawn.watts === null) continue;
    knownMs += ms;
    joules += (drawn.watts * ms) / 1_000;
    isEstimated ||= drawn.isEstimated;
  }
  const { pricePerKwh, currency } = await notifier.pricing();
  const kwh = knownMs === 0 ? null : joules / 3.6e6;
  return {
    sleeps: spans.length,
    sleptMs,
    isAsleep: last.onAtMs === null,
    since: isoOf(first.offAtMs),
    watts: knownMs === 0 ? null : (joules * 1_000) / knownMs,
    isEstimated,
    kwh,
    money: kwh === null || pricePerKwh === null ? null : kwh * pricePerKwh,
    currency,
  };
}

/** A cluster without a choice follows `balance`. */
async function policyOf(
  { database }: Context,
  { autonomy, policyHash, policyYaml }: ClusterRecord,
): Promise<PowerSaving['policy']> {
  const moves = wishedLevel(autonomy, 'guest.migrate');
  if (policyHash === null || policyYaml === null) return { name: 'balance', saves: false, moves };
  const name = (await policyOfHash(database.db, policyHash))?.name ?? 'an earlier version';
  return { name, saves: Policy.parse(parse(policyYaml)).save.mode !== 'off', moves };
}

function restOf({ emptying, clock }: Context, at: NodeAt): PowerSaving['rest'] {
  const found = emptying(at);
  if (found === null) return null;
  const { movesPerDay, forMs } = found.rest;
  const isBound = forMs > 0 && forMs < Infinity;
  return { movesPerDay, until: isBound ? isoOf(clock.wallMs() + forMs) : null };
}

export function powerSavingRoute(app: App, context: Context): void {
  const measure = createMeasure(context.metrics);
  app.get('/api/v1/clusters/:cluster/nodes/:node/power-saving', {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['nodes'],
      summary: 'Who would have to leave it, what its proofs measured, and what its sleep has saved',
      params: ByNode,
      response: { 200: PowerSaving, ...problems },
    },
    handler: async (request) => {
      const at = request.params;
      const { nodes, clusters } = context.fleet();
      const record = nodes.get(nodeKey(at.cluster, at.node));
      const cluster = clusters.get(at.cluster);
      if (!record || !cluster) {
        const detail = `There is no node ${at.node} in ${at.cluster}.`;
        throw httpError('KR_NOT_FOUND', detail, { field: 'node' });
      }
      const reads = controlReads(context.database.db);
      const rows = await reads.wakeProofs({ cluster: at.cluster, id: at.node });
      return {
        residents: residentsOf(record),
        cycles: await cyclesOf(measure, at, rows),
        policy: await policyOf(context, cluster),
        rest: restOf(context, at),
        saved: await savedBy(context, { record, cluster }, measure),
      };
    },
  });
}
