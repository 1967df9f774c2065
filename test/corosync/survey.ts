/**
 * Walks one layout through every set of nodes that are on, waits until corosync has settled, and
 * keeps what it says; then asks the product about every switch-off from every such set and
 * compares with what corosync really said of the set that is left.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { parsePvecmStatus } from '../../daemon/hypervisor/proxmox/quorum.ts';
import { configOf, Lab, type Layout, nameOf } from './lab.ts';
import { mayGo, seen } from './question.ts';

export type Survey = Layout & {
  /** How nodes went away, and whether the quorum device was there. */
  by: 'cut' | 'kill';
  device: 'none' | 'alive' | 'dead';
  sets: number;
  questions: number;
  allowed: number;
  denied: number;
  /** Must be empty: allowed, and corosync was inquorate then. */
  allowedButInquorate: string[];
  /** With a spare asked for: allowed, and one more failure was inquorate. */
  allowedButNoSpare: string[];
  /** Denied by the vote count alone though corosync stayed quorate: careful, not dangerous. */
  deniedButQuorate: string[];
};

type Set = { on: number[]; quorate: boolean; statuses: (string | null)[] };

const keyOf = (on: readonly number[]): string => on.map(nameOf).join('+');

const subsets = (size: number): number[][] =>
  Array.from({ length: 2 ** size - 1 }, (_, mask) =>
    Array.from({ length: size }, (__, index) => index).filter((index) => ((mask + 1) >> index) & 1),
  ).toReversed();

/** Every node that is on sees exactly these, and the device's word, if any, has not moved. */
async function settled(lab: Lab, on: readonly number[], device: Survey['device']): Promise<Set> {
  const deadline = performance.now() + 40_000;
  let before = '';
  for (;;) {
    const statuses = await Promise.all(on.map((index) => lab.status(index)));
    const parsed = statuses.map((text) => (text === null ? null : parsePvecmStatus(text)));
    const isWhole = parsed.every(
      (status) =>
        status &&
        status.members.map(({ nodeId }) => nodeId - 1).join() === on.join() &&
        (device !== 'alive' ||
          status.members.every(({ qdeviceFlags }) => qdeviceFlags.includes('A'))) &&
        (device !== 'dead' ||
          status.members.every(({ qdeviceFlags }) => !qdeviceFlags.includes('V'))),
    );
    const now = isWhole ? JSON.stringify(parsed) : '';
    if (now !== '' && now === before) {
      return {
        on: [...on],
        quorate: parsed.every((status) => status?.isQuorate === true),
        statuses,
      };
    }
    if (performance.now() > deadline) {
      throw new Error(`${keyOf(on)} did not settle: ${statuses.join('\n').slice(0, 2_000)}`);
    }
    before = now;
    await pause(device === 'none' ? 250 : 1_200);
  }
}

async function switchTo(lab: Lab, on: readonly number[], by: Survey['by']): Promise<void> {
  for (let index = 0; index < lab.size; index += 1) {
    const isOn = on.includes(index);
    if (by === 'cut') await (isOn ? lab.heal(index) : lab.cut(index));
    else if (isOn) lab.revive(index);
    else await lab.kill(index);
  }
}

/** What corosync says of every set of nodes, over one start of the layout. */
async function measure(
  lab: Lab,
  by: Survey['by'],
  device: Survey['device'],
): Promise<Map<string, Set>> {
  const sets = new Map<string, Set>();
  for (const on of subsets(lab.size)) {
    await switchTo(lab, on, by);
    sets.set(keyOf(on), await settled(lab, on, device));
  }
  return sets;
}

/** Whether corosync stays quorate when this node leaves this set. */
type After = (on: readonly number[], target: number) => boolean;

/** Without a device the answer depends on who is left alone, however it came about. */
const byTheRest =
  (sets: Map<string, Set>): After =>
  (on, target) =>
    sets.get(keyOf(on.filter((index) => index !== target)))?.quorate ?? false;

/**
 * A quorum device remembers: whom it last voted for decides whom it votes for next. So every
 * switch-off is made for real, from all nodes by way of the set that is asked about.
 */
async function leave(lab: Lab, sets: Map<string, Set>, by: Survey['by']): Promise<After> {
  const quorate = new Map<string, boolean>();
  const everyone = Array.from({ length: lab.size }, (_, index) => index);
  for (const { on } of sets.values()) {
    for (const target of on) {
      const left = on.filter((index) => index !== target);
      if (left.length === 0) continue;
      for (const stage of [everyone, on, left]) {
        await switchTo(lab, stage, by);
        const seenNow = await settled(lab, stage, 'alive');
        if (stage === left) quorate.set(`${keyOf(on)}-${target}`, seenNow.quorate);
      }
    }
  }
  return (on, target) => quorate.get(`${keyOf(on)}-${target}`) ?? false;
}

type Truth = { after: After; withoutDevice: After };

function ask(survey: Survey, sets: Map<string, Set>, { after, withoutDevice }: Truth): void {
  const config = configOf(survey);
  for (const { on, statuses } of sets.values()) {
    const views = on.flatMap((index, at) => seen(nameOf(index), statuses[at] ?? '', config) ?? []);
    for (const target of views) {
      const gone = on.find((index) => nameOf(index) === target.name) ?? -1;
      const left = on.filter((index) => index !== gone);
      const where = `${keyOf(on)} without ${target.name}`;
      const stays = after(on, gone);
      const bare = mayGo(target, views, 0);
      const careful = mayGo(target, views, 1);
      survey.questions += 2;
      for (const answer of [bare, careful]) {
        if (answer.server && answer.local) survey.allowed += 1;
        else survey.denied += 1;
      }
      for (const [who, isAllowed] of Object.entries(bare)) {
        if (isAllowed && !stays) survey.allowedButInquorate.push(`${who}: ${where}`);
        if (!isAllowed && stays) survey.deniedButQuorate.push(`${who}: ${where}`);
      }
      const failures = [
        ...left.map((lost) => after(left, lost)),
        ...(survey.device === 'alive' ? [withoutDevice(on, gone)] : []),
      ];
      if (careful.server && failures.includes(false)) survey.allowedButNoSpare.push(where);
    }
  }
}

const empty = (layout: Layout, by: Survey['by'], device: Survey['device']): Survey => ({
  ...layout,
  by,
  device,
  sets: 0,
  questions: 0,
  allowed: 0,
  denied: 0,
  allowedButInquorate: [],
  allowedButNoSpare: [],
  deniedButQuorate: [],
});

/** With a device the layout is walked twice: while qnetd answers, and after it was killed. */
export async function survey(layout: Layout, by: Survey['by']): Promise<Survey[]> {
  const lab = new Lab(layout);
  await lab.start();
  try {
    if (layout.deviceVotes === 0) {
      const sets = await measure(lab, by, 'none');
      const result = { ...empty(layout, by, 'none'), sets: sets.size };
      ask(result, sets, { after: byTheRest(sets), withoutDevice: byTheRest(sets) });
      return [result];
    }
    const alive = await measure(lab, by, 'alive');
    const after = await leave(lab, alive, by);
    await switchTo(
      lab,
      Array.from({ length: lab.size }, (_, index) => index),
      by,
    );
    await lab.stopQnetd();
    const dead = await measure(lab, by, 'dead');
    const results = [
      { ...empty(layout, by, 'alive'), sets: alive.size },
      { ...empty(layout, by, 'dead'), sets: dead.size },
    ];
    const withoutDevice = byTheRest(dead);
    ask(results[0] as Survey, alive, { after, withoutDevice });
    ask(results[1] as Survey, dead, { after: withoutDevice, withoutDevice });
    return results;
  } finally {
    await lab.stop();
  }
}
