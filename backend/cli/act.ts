/**
 * `act`, `approve`, `cancel`, `resolve`, `hold`: asks the server for a command and follows it to
 * its end. Invariant: a request that may have arrived is repeated under the same key, so that
 * asking twice never acts twice.
 */
import { z } from 'zod';
import { commandArgs, CommandKind, isTerminal } from '../../broker/contract/command.ts';
import { firstIssue } from '../../broker/contract/codec.ts';
import type { Clock, NewId } from '../../broker/contract/ports.ts';
import { ApiRefused, type Call, type ClientApi } from './api.ts';
import { findSubject, type Subject } from './find.ts';
import { json } from './output.ts';
import { pause } from '../pause.ts';
import { confirmed, withProof } from './proof.ts';
import type { Person } from './prove-wake.ts';
import { CommandDetail } from './views.ts';

export type ActOrder = {
  kind: string;
  target: string;
  /** `name=value`, numbers and true/false as such. */
  args: readonly string[];
  /** Node that executes; default: where the target is. A wake is done by another one. */
  by: string | undefined;
  reason: string | undefined;
  wait: boolean;
  json: boolean;
  /** The guest's id again, for what nothing brings back; else it is asked for. */
  confirm?: string | undefined;
  /** Only asks whether it would be let through. */
  dryRun?: boolean;
};

type Deps = { api: ClientApi; person: Person; clock: Clock; newId: NewId; signal: AbortSignal };

export class ActRefused extends Error {
  override readonly name = 'ActRefused';
  readonly code = 'KR_ACT';
}

/** How a followed command ended, as exit code; 2 is a refusal, 1 a fault of ours. */
const exitCodes = { succeeded: 0, ended: 3, indeterminate: 4, open: 5 } as const;

const Accepted = z.object({ id: z.string(), state: z.string() });
const pollEveryMs = 1_000;

const valueOf = (text: string): string | number | boolean => {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
};

/** @throws ActRefused that names the argument. */
export function argsOf(kind: CommandKind, pairs: readonly string[]): Record<string, unknown> {
  const given = Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at > 0) return [pair.slice(0, at), valueOf(pair.slice(at + 1))];
      throw new ActRefused(`${pair}: write arguments as name=value`);
    }),
  );
  const parsed = commandArgs[kind].safeParse(given);
  if (parsed.success) return given;
  const { field, hint } = firstIssue(parsed.error, '');
  if (field !== '' && !Object.hasOwn(given, field)) {
    throw new ActRefused(`${kind} needs ${field}: add --arg ${field}=<value>`);
  }
  throw new ActRefused(`${kind}: ${field === '' ? '' : `${field}: `}${hint}`);
}

function kindOf(text: string): CommandKind {
  const parsed = CommandKind.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new ActRefused(`${text}: use one of ${CommandKind.options.join(', ')}`);
}

function targetFor(kind: CommandKind, subject: Subject): { node: string; guest?: string } {
  if (kind.startsWith('guest.') !== (subject.kind === 'guest')) {
    throw new ActRefused(`${kind} is not for a ${subject.kind}; ${subject.id} is one`);
  }
  return subject.kind === 'node'
    ? { node: subject.id }
    : { node: subject.guest.node, guest: subject.id };
}

/** Of a plan: a line for each step that has begun or says what it waits for. */
const stepLines = ({ steps = [] }: CommandDetail): { key: string; line: string }[] =>
  steps
    .filter(({ state, reason }) => state !== 'skipped' && (state !== 'waiting' || reason !== null))
    .map(({ step, node, state, reason, command }) => {
      const name = command === null ? step : `${step} ${command}`;
      const line = `  ${name} (node ${node}): ${state}${reason === null ? '' : `: ${reason}`}`;
      return { key: name, line };
    });

/** Says each new step; ends with the command, or when the person goes. */
async function follow(id: string, isJson: boolean, deps: Deps): Promise<number> {
  const { api, person, signal } = deps;
  let told = 0;
  const toldSteps = new Map<string, string>();
  for (;;) {
    const asked = { method: 'GET', path: `/api/v1/commands/${id}` } as const;
    const command = await api.ask(CommandDetail, asked);
    const news = isJson ? [] : command.history.slice(told);
    for (const { state, reason } of news) {
      person.say(reason === undefined ? state.toLowerCase() : `${state.toLowerCase()}: ${reason}`);
    }
    told = command.history.length;
    for (const { key, line } of isJson ? [] : stepLines(command)) {
      if (toldSteps.get(key) !== line) person.say(line);
      toldSteps.set(key, line);
    }
    const isDoubtful = command.state === 'INDETERMINATE';
    if (isTerminal(command.state) || isDoubtful || signal.aborted) {
      if (isJson) person.say(json(command));
      if (command.state === 'SUCCEEDED') return exitCodes.succeeded;
      if (isDoubtful && !isJson) person.say(`look at it, then: kernreaktor resolve ${id}`);
      if (isDoubtful) return exitCodes.indeterminate;
      return isTerminal(command.state) ? exitCodes.ended : exitCodes.open;
    }
    await pause(deps, pollEveryMs);
  }
}

const attemptsMax = 3;

/** Without an answer it may have arrived: the same key makes a second request the same command. */
async function sent(call: Call, deps: Deps): Promise<z.infer<typeof Accepted>> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await deps.api.ask(Accepted, call);
    } catch (error) {
      const isUnknown = error instanceof ApiRefused && error.code === 'KR_UNREACHABLE';
      if (!isUnknown || attempt === attemptsMax) throw error;
      await pause(deps, pollEveryMs);
    }
  }
}

const Rehearsed = z.object({
  isAllowed: z.boolean(),
  denial: z.object({ code: z.string(), reason: z.string(), wayOut: z.string() }).nullable(),
});

/** Nothing is kept or begun. */
async function rehearse(body: object, isJson: boolean, { api, person }: Deps): Promise<number> {
  const call = { method: 'POST', path: '/api/v1/commands/dry-run', body } as const;
  const answer = await api.ask(Rehearsed, call);
  const { denial } = answer;
  if (isJson) person.say(json(answer));
  else if (denial === null) person.say('it would be let through now; nothing was done');
  else person.say(`it would be refused: ${denial.code}: ${denial.reason}; ${denial.wayOut}`);
  return denial === null ? exitCodes.succeeded : exitCodes.ended;
}

/** Answers the exit code. @throws ApiRefused, ActRefused, NotFound, Unconfirmed */
export async function act(order: ActOrder, deps: Deps): Promise<number> {
  const { api, person, newId } = deps;
  const kind = kindOf(order.kind);
  const args = argsOf(kind, order.args);
  const subject = await findSubject(api, order.target);
  const body = {
    cluster: subject.cluster,
    kind,
    ...targetFor(kind, subject),
    ...(order.by === undefined ? {} : { node: order.by }),
    args,
    ...(order.reason === undefined ? {} : { reason: order.reason }),
  };
  if (order.dryRun === true) return rehearse(body, order.json, deps);
  if (kind === 'guest.delete') {
    const wanted = { what: 'id of the guest', id: subject.id, given: order.confirm };
    await confirmed(person, wanted);
  }
  const headers = { 'idempotency-key': newId() };
  const { id } = await sent({ method: 'POST', path: '/api/v1/commands', body, headers }, deps);
  if (!order.json) person.say(`${kind} ${subject.cluster}/${subject.id}: command ${id}`);
  if (!order.wait) {
    if (order.json) person.say(json({ id }));
    return exitCodes.succeeded;
  }
  return follow(id, order.json, deps);
}

/** What became of it, in words or as the server said it. */
const told = (answer: z.infer<typeof Accepted>, isJson: boolean): string =>
  isJson ? json(answer) : `${answer.id} is ${answer.state.toLowerCase()}`;

export async function settle(
  verb: 'approve' | 'cancel',
  id: string,
  { api }: Deps,
  isJson = false,
): Promise<string> {
  const path = `/api/v1/commands/${encodeURIComponent(id)}/${verb}`;
  return told(await api.ask(Accepted, { method: 'POST', path }), isJson);
}

export async function resolveCommand(
  id: string,
  { outcome, note, json: isJson = false }: { outcome: string; note: string; json?: boolean },
  deps: Deps,
): Promise<string> {
  const path = `/api/v1/commands/${encodeURIComponent(id)}/resolve`;
  const answer = await withProof(deps.person, (proof) =>
    deps.api.ask(Accepted, { method: 'POST', path, body: { outcome, note, ...proof } }),
  );
  return told(answer, isJson);
}

export async function setHold(
  order: { cluster: string | undefined; hold: boolean; reason?: string; json?: boolean },
  deps: Deps,
): Promise<string> {
  const { cluster, hold, reason, json: isJson } = order;
  const home = cluster === undefined ? '' : `clusters/${encodeURIComponent(cluster)}/`;
  const path = `/api/v1/${home}hold`;
  await withProof(deps.person, (proof) =>
    deps.api.ask(z.unknown(), {
      method: 'PUT',
      path,
      body: { hold, ...(reason === undefined ? {} : { reason }), ...proof },
    }),
  );
  if (isJson) return json({ cluster: cluster ?? null, hold });
  const what = cluster === undefined ? 'everything' : `cluster ${cluster}`;
  return hold ? `${what} is on HOLD: nothing new is begun` : `${what} is released`;
}
