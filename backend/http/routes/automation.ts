/**
 * Whether automation leaves a node or guest alone, since when and why, and a person's say in it.
 * It binds the engine only: what people send is judged as ever.
 */
import { z } from 'zod';
import { nodeKey } from '../../../broker/contract/ids.ts';
import { appendAudit } from '../../audit/chain.ts';
import { type Paused, readKeepAwake, readPause, setPause } from '../../store/sql/pauses.ts';
import type { Principal } from '../access.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ByGuest, ByNode, isoOf, isoOrNull, problems } from '../schemas.ts';

const weekMs = 7 * 86_400_000;
const PauseBody = z
  .strictObject({
    pauseForMs: z
      .int()
      .min(60_000)
      .max(weekMs)
      .nullable()
      .describe('From now on, however long it was paused before; null: automation may act again'),
    reason: z.string().trim().min(1).max(512).optional(),
  })
  .meta({ examples: [{ pauseForMs: 14_400_000, reason: 'I am working on it' }] });

const Automation = z.object({
  paused: z
    .object({
      until: At,
      by: z.string().nullable().describe('Actor, as in the audit trail'),
      because: z
        .object({ command: z.string(), kind: z.string(), at: At })
        .nullable()
        .describe('The command that began the pause; null: it was asked for as such'),
    })
    .nullable(),
  keptAwakeUntil: At.nullable().describe('Of a node: nothing puts it to sleep until then'),
});
export type Automation = z.infer<typeof Automation>;

async function standingOf(context: Context, target: Paused): Promise<Automation> {
  const nowMs = context.clock.wallMs();
  const { db } = context.database;
  const pause = await readPause(db, target, nowMs);
  const at = { cluster: target.cluster, node: target.id, nowMs };
  const { untilMs, by, because } = pause ?? { untilMs: 0, by: null, because: null };
  return {
    paused: pause && {
      until: isoOf(untilMs),
      by,
      because: because && {
        command: because.id,
        kind: because.kind,
        at: isoOf(because.planned_at_ms),
      },
    },
    keptAwakeUntil: target.kind === 'node' ? isoOrNull(await readKeepAwake(db, at)) : null,
  };
}

async function pause(
  context: Context,
  target: Paused,
  wish: z.infer<typeof PauseBody> & { principal: Principal },
): Promise<Automation> {
  const { actor, nowMs } = changeBy(context, wish.principal);
  const untilMs = wish.pauseForMs === null ? null : nowMs + wish.pauseForMs;
  await context.database.transaction(async (trx) => {
    await setPause(trx, target, { untilMs, by: actor });
    await appendAudit(trx, {
      chain: target.cluster,
      actor,
      action: untilMs === null ? 'automation.resumed' : 'automation.paused',
      subject: `${target.kind}:${target.id}`,
      phase: 'done',
      detail: { untilMs, reason: wish.reason ?? null },
      atMs: nowMs,
    });
  });
  return standingOf(context, target);
}

const unknown = ({ cluster, kind, id }: Paused): Error =>
  httpError('KR_NOT_FOUND', `There is no ${kind} ${id} in ${cluster}.`, { field: kind });

const reads = (of: string) => ({
  tags: [`${of}s`],
  summary: `Whether automation leaves this ${of} alone, until when and why`,
  response: { 200: Automation, ...problems },
});
const writes = (of: string) => ({
  tags: [`${of}s`],
  summary: `Have automation leave this ${of} alone for a time, or let it act again`,
  body: PauseBody,
  response: { 200: Automation, ...problems },
});

export function automationRoutes(app: App, context: Context): void {
  const nodeOf = ({ cluster, node }: z.infer<typeof ByNode>): Paused => {
    const target = { cluster, kind: 'node' as const, id: node };
    if (context.fleet().nodes.has(nodeKey(cluster, node))) return target;
    throw unknown(target);
  };
  const guestOf = ({ cluster, guest }: z.infer<typeof ByGuest>): Paused => {
    const target = { cluster, kind: 'guest' as const, id: guest };
    if (context.fleet().guests.has(`${cluster}/${guest}`)) return target;
    throw unknown(target);
  };
  const [ofNode, ofGuest] = [
    '/api/v1/clusters/:cluster/nodes/:node/automation',
    '/api/v1/clusters/:cluster/guests/:guest/automation',
  ];
  app.get(ofNode, {
    config: { access: 'fleet:read' },
    schema: { ...reads('node'), params: ByNode },
    handler: (request) => standingOf(context, nodeOf(request.params)),
  });
  app.get(ofGuest, {
    config: { access: 'fleet:read' },
    schema: { ...reads('guest'), params: ByGuest },
    handler: (request) => standingOf(context, guestOf(request.params)),
  });
  app.put(ofNode, {
    config: { access: 'commands:submit' },
    schema: { ...writes('node'), params: ByNode },
    handler: (request) =>
      pause(context, nodeOf(request.params), {
        ...request.body,
        principal: principalOfRequest(request),
      }),
  });
  app.put(ofGuest, {
    config: { access: 'commands:submit' },
    schema: { ...writes('guest'), params: ByGuest },
    handler: (request) =>
      pause(context, guestOf(request.params), {
        ...request.body,
        principal: principalOfRequest(request),
      }),
  });
}
