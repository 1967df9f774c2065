/**
 * What the machine asks for, done: judge by fresh facts, claim, start, look, report. Invariant:
 * nothing here decides whether a command may start; it only carries the machine's answer out, and
 * brings back what it found as the command's next input.
 */
import type { GrantContent, Probe } from '../../broker/contract/command.ts';
import type { Actors } from './actors.ts';
import { claimOf, type Command, type Effect, type In, type Outcome } from './command-state.ts';
import type { FromExecutor } from './executor-port.ts';
import { judge, type Wanted } from './guards.ts';
import { isHeldHere } from './hold-watch.ts';
import type { Hold } from './hold.ts';
import type { Journal } from './journal.ts';
import { type FactSources, gatherFacts } from './local-facts.ts';
import { cancelled, type Trace, type Observation } from '../hypervisor/port.ts';
import { wakersFor } from '../waker/port.ts';
import { hasOnlyParked, park, setOut, unpark } from './parking.ts';
import { perform, resume, type WorkHooks, workOf } from './work.ts';
import { observe, type WorkDeps } from './work-steps.ts';

export type EffectDeps = FactSources & WorkDeps & { observeOnly: boolean };

export type Bench = {
  deps: EffectDeps;
  hold: Hold;
  journal: Journal;
  post: Actors['post'];
  /** Lost when the node is offline; the machine says it again. */
  say: (message: Exclude<FromExecutor, { name: 'goodbye' }>) => void;
  goodbye: (node: string) => Promise<void>;
};

const targetOf = ({ target }: Pick<Wanted, 'target'>): string => `${target.kind}/${target.id}`;

const wakerOf = ({ args: { waker } }: Wanted): string | undefined =>
  typeof waker === 'string' ? waker : undefined;

const unjudged = {
  code: 'KR_FACTS',
  reason: 'the guards of this node could not be asked',
  wayOut: 'see the log of the daemon, and send the command again',
};

export class Effects {
  readonly #bench: Bench;
  /** target -> the command that works on it. */
  readonly #busy = new Map<string, string>();
  /** Power-offs of nodes on which, at the last look, guests ran that may be parked. */
  readonly #parkers = new Set<string>();
  /** Of those at work here, to be told that nobody waits for them any more. */
  readonly #over = new Map<string, AbortController>();
  /** Of those at work here, to be called back. */
  readonly #back = new Map<string, AbortController>();

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  run(command: Command, effect: Exclude<Effect, { type: 'journal' }>): void {
    const { node } = command;
    switch (effect.type) {
      case 'check':
        if (command.phase === 'received' || command.phase === 'granted') void this.#judge(command);
        return;
      case 'claim':
        if (command.phase === 'claiming') this.#claim(command);
        return;
      case 'perform':
        if (command.phase === 'started') this.#perform(command);
        return;
      case 'observe':
        void this.#look(node, effect.probe, effect.reach);
        return;
      case 'report':
      default:
        this.#bench.say({ name: 'report', node, body: effect.report });
    }
  }

  /** Goes on with what had started before the restart. */
  recover(command: Command): void {
    if (command.phase !== 'started') return;
    const { commandId, node, grant } = command;
    const { deps } = this.#bench;
    deps.log.info({ commandId, node, kind: grant.kind }, 'command taken up again after a restart');
    this.#reserve(grant);
    const begun = { ...command, trace: this.#traceOf(commandId) };
    void this.#follow(command, resume(deps, begun, this.#hooksOf(command)));
  }

  #traceOf(commandId: string): Trace {
    const { commands } = this.#bench.journal.state;
    const others = [...commands.values()].filter((record) => record.commandId !== commandId);
    return {
      startedAtWallMs: commands.get(commandId)?.atMs ?? this.#bench.deps.clock.wallMs(),
      otherHandles: new Set(others.flatMap(({ handle }) => handle ?? [])),
    };
  }

  /** The server calls it over: a wake that works has been heard, or is not wanted any more. */
  callOver(commandId: string): void {
    this.#over.get(commandId)?.abort();
  }

  /** A person calls an effect back that runs; at the end of this process it runs on. */
  callBack(commandId: string): void {
    this.#back.get(commandId)?.abort(cancelled);
  }

  /** At the end of this process: what waits for its next step does not begin it. */
  close(): void {
    for (const over of this.#over.values()) over.abort();
  }

  /** A command that has ended frees its target. */
  release(command: Command): void {
    if (command.phase !== 'finished' && command.phase !== 'refused') return;
    this.#parkers.delete(command.commandId);
    this.#over.delete(command.commandId);
    this.#back.delete(command.commandId);
    for (const [target, holder] of this.#busy) {
      if (holder === command.commandId) this.#busy.delete(target);
    }
  }

  /** A wake is never barred, not even by a power-off of the same node whose end is unknown. */
  #reserve(wanted: Wanted): void {
    const target = targetOf(wanted);
    if (wanted.kind !== 'node.wake' && !this.#busy.has(target)) {
      this.#busy.set(target, wanted.commandId);
    }
  }

  #isBusy(wanted: Wanted): boolean {
    const holder = this.#busy.get(targetOf(wanted)) ?? wanted.commandId;
    return wanted.kind !== 'node.wake' && holder !== wanted.commandId;
  }

  /** A look that fails is no reason to act, and none to end the whole daemon. */
  async #judge(command: In<'received' | 'granted'>): Promise<void> {
    const { node, commandId } = command;
    try {
      await this.#check(command);
    } catch (error) {
      this.#bench.deps.log.error({ err: error, commandId, node }, 'command could not be judged');
      const denial = { ...unjudged, guard: { id: 'facts', rule: 'T1', facts: [] } };
      await this.#bench.post(node, commandId, { type: 'checked', denial, bootId: null });
    }
  }

  async #check(command: In<'received' | 'granted'>): Promise<void> {
    const { deps, post } = this.#bench;
    const { node, commandId } = command;
    const grant = command.phase === 'granted' ? command.grant : null;
    const wanted = grant ?? command.offer;
    if (grant) this.#reserve(grant);
    const facts = await this.#factsOf(node, wanted, grant);
    const denial = judge(facts);
    if (grant && facts.parkable?.length) this.#parkers.add(commandId);
    if (denial) deps.log.warn({ commandId, node, ...denial }, 'command denied');
    await post(node, commandId, { type: 'checked', denial, bootId: facts.bootId });
  }

  async #factsOf(node: string, wanted: Wanted, grant: GrantContent | null) {
    const { deps, hold, journal } = this.#bench;
    return {
      ...(await gatherFacts(deps, node, wanted)),
      node,
      wanted,
      grant,
      maxEpoch: journal.state.maxEpoch,
      isHeldByServer: hold.isHeld(),
      isObserveOnly: deps.observeOnly,
      wakers: wakersFor(deps.wakers, wanted.target.id, wakerOf(wanted)).length,
      isTargetBusy: this.#isBusy(wanted),
      quarantined: await journal.quarantined(),
      hasReserve: await journal.hasReserve(),
    };
  }

  /**
   * The guards again, directly before a power-off: a vote, a session or a guest may have come or
   * gone while others were parked. A later epoch is no objection, since its leader knows of this
   * start; a guest that may be parked is one, since its turn is over.
   */
  async #lastLook({ node, commandId, grant }: In<'started'>): Promise<string | null> {
    const held = await this.#heldBy();
    if (held !== null) return held;
    try {
      const facts = await this.#factsOf(node, grant, grant);
      const denial = judge({ ...facts, maxEpoch: grant.epoch, parkable: [] });
      return denial && `${denial.code}: ${denial.reason}`;
    } catch (error) {
      this.#bench.deps.log.error({ err: error, commandId, node }, 'command could not be judged');
      return unjudged.reason;
    }
  }

  #claim(command: In<'claiming'>): void {
    const { journalId, state } = this.#bench.journal;
    const { incarnation, maxEpoch } = state;
    const body = claimOf(command, { journalId, incarnation, maxEpoch });
    this.#bench.say({ name: 'claim', node: command.node, body });
  }

  #perform(command: In<'started'>): void {
    const { deps } = this.#bench;
    const { commandId, node, grant } = command;
    deps.log.info({ commandId, node, kind: grant.kind }, 'command started');
    void this.#follow(command, perform(deps, grant, this.#hooksOf(command)));
  }

  async #heldBy(): Promise<string | null> {
    if (this.#bench.hold.isHeld()) return 'the server holds this cluster';
    return (await isHeldHere(this.#bench.deps)) ? 'the HOLD file of this machine stands' : null;
  }

  #hooksOf(command: In<'started'>): WorkHooks {
    const { node, commandId, grant } = command;
    const heldBy = () => this.#heldBy();
    const parking = { ...this.#bench.deps, journal: this.#bench.journal, heldBy };
    const over = new AbortController();
    const back = new AbortController();
    this.#over.set(commandId, over);
    this.#back.set(commandId, back);
    return {
      heldBy,
      lastLook: () => this.#lastLook(command),
      over: over.signal,
      back: back.signal,
      park: async () => (this.#parkers.has(commandId) ? park(parking, grant) : null),
      setOut: () => setOut(parking, commandId),
      hasOnlyParked: () => hasOnlyParked(parking, commandId),
      unpark: (since) => unpark(parking, grant, since),
      onHandle: (handle) => this.#bench.post(node, commandId, { type: 'handle', handle }),
      goodbye: () => this.#bench.goodbye(node),
    };
  }

  async #follow({ node, commandId }: Command, work: Promise<Outcome>): Promise<void> {
    const outcome = await work;
    const { exitCode, postcondition } = outcome;
    this.#bench.deps.log.info({ commandId, node, exitCode, postcondition }, 'command finished');
    await this.#bench.post(node, commandId, { type: 'ended', outcome });
  }

  /** What the driver says goes first; the network is asked where it cannot tell. */
  async #look(node: string, probe: Probe, reach?: Observation): Promise<void> {
    const { commandId, role } = probe;
    const work = workOf(probe, node, 1);
    const seen = work
      ? await observe(this.#bench.deps, work)
      : { postcondition: null, detail: 'the arguments are not those of this kind' };
    const { postcondition, detail } = seen.postcondition === null && reach ? reach : seen;
    await this.#bench.post(node, commandId, { type: 'observed', role, postcondition, detail });
  }
}
