/**
 * Tasks of Proxmox VE: the UPID that names one for ever, and the file of this node's latest tasks.
 * A command-line tool runs its task in the foreground and names it last or never, so the file is
 * where a task's name can be read while it works. Pure.
 */
import { isTaskOk, type TaskStatus } from './answers.ts';

export type Upid = {
  upid: string;
  node: string;
  startedAtSeconds: number;
  type: string;
  /** The vmid of a guest's task. */
  id: string;
  /** Who began it: `root@pam`, or a token as `kr@pve!kernreaktor`. */
  user: string;
};

const form =
  /^UPID:([^:\s]+):[0-9A-F]{8}:[0-9A-F]{8,9}:([0-9A-F]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$/i;

export function parseUpid(text: string): Upid | null {
  const [upid, node, started, type, id, user] = form.exec(text.trim()) ?? [];
  if (upid === undefined || node === undefined || type === undefined) return null;
  const startedAtSeconds = parseInt(started ?? '', 16);
  return { upid, node, startedAtSeconds, type, id: id ?? '', user: user ?? '' };
}

/** The last UPID in a tool's output, which is its answer: `"UPID:..."` or the bare text. */
export function upidIn(output: string): Upid | null {
  const found = [...output.matchAll(/UPID:[^\s"]+:/g)].map(([text]) => parseUpid(text));
  return found.findLast((upid) => upid !== null) ?? null;
}

export type ListedTask = Upid & {
  isRunning: boolean;
  /** null while it runs. */
  exitStatus: string | null;
};

/** /var/log/pve/tasks/active: `UPID saved [endTimeHex status]`, one task a line. */
export const parseActiveTasks = (text: string): ListedTask[] =>
  text.split('\n').flatMap((line) => {
    const [, upid = '', ended, status] =
      /^(\S+) [01](?: ([0-9A-Fa-f]{8})(?: (\S.*))?)?$/.exec(line.trim()) ?? [];
    const parsed = parseUpid(upid);
    if (parsed === null) return [];
    return [{ ...parsed, isRunning: ended === undefined, exitStatus: status ?? null }];
  });

/** HA only queues these; the manager starts the real task later, under a UPID of its own. */
const queued: Readonly<Record<string, readonly string[]>> = {
  hamigrate: ['qmigrate', 'vzmigrate'],
  hastart: ['qmstart', 'vzstart'],
  hastop: ['qmstop', 'qmshutdown', 'vzstop', 'vzshutdown'],
};

/** Types of the real task behind a queued request; undefined when the task is the real one. */
export const realTypesOf = (type: string): readonly string[] | undefined => queued[type];

/** Whether Proxmox puts everything back as it was when such a task is stopped half-way. */
export const canBeStopped = (type: string): boolean => type === 'qmigrate' || type === 'vzmigrate';

/** Nobody can tell HA to forget a request. */
export const queuedForGood =
  'HA has queued it, and such a request cannot be taken back: HA may still begin it';

export type TaskEnd = { isOk: boolean; detail: string };

/** undefined while it runs. */
export function endOf({ status, exitstatus }: TaskStatus): TaskEnd | undefined {
  if (status === 'running') return undefined;
  return { isOk: isTaskOk(exitstatus), detail: exitstatus ?? 'it ended without a status' };
}

const stopping = /^(qm|vz)(stop|shutdown|suspend|pause|migrate|destroy)$|^ha(stop|migrate)$/;
/** Proxmox keeps so many finished tasks in its list. */
const listedMax = 25;
/** A list whose oldest task is younger than this, in seconds, may have lost the one asked for. */
const coveredSeconds = 600;

/**
 * Whether somebody asked for the newest stop of a guest; null where the list cannot say. A guest
 * that goes down by itself, by its own shutdown or because its process died, leaves no task.
 */
export function stopAsked(tasks: readonly ListedTask[] | null, vmid: string): boolean | null {
  if (tasks === null) return null;
  const starts = tasks.map(({ startedAtSeconds }) => startedAtSeconds);
  const newest = tasks
    .filter(({ id }) => id === vmid)
    .toSorted((a, b) => a.startedAtSeconds - b.startedAtSeconds)
    .at(-1);
  if (newest) return stopping.test(newest.type);
  const isFlooded =
    tasks.length >= listedMax && Math.max(...starts) - Math.min(...starts) < coveredSeconds;
  return isFlooded ? null : false;
}
