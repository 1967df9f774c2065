/**
 * The guards of size: what may be changed while a guest runs, and by how much at once (SAFETY S1
 * to S3). A change that stays pending looks like success and is none. Pure.
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { Fact } from '../decide/plan.ts';
import { type Guard, type GuardFacts, judged, type Says } from './guard.ts';

const mebibyte = 2 ** 20;
const staticBytes = 1_024 * mebibyte;
const dimmBytes = 512 * mebibyte;
const memoryMaxBytes = 2 ** 42;
const shrinkMargin = 1.25;
const stepFactorMax = 2;

const isScale = (kind: string): boolean => kind === 'guest.scale';
const argsOf = ({ args }: GuardFacts): CommandArgs<'guest.scale'> => args;
const runs = ({ guest }: GuardFacts): boolean => guest?.sample.state !== 'stopped';

const noHotplug = (what: string): Says => ({
  code: 'KR_NO_HOTPLUG',
  reason: `${what} of the running guest cannot be changed: hotplug does not name it`,
  wayOut: `add ${what} to the guest's hotplug setting and restart it, or stop it first`,
});

const virtiofs: Says = {
  code: 'KR_VIRTIOFS',
  reason: 'the guest shares a folder by virtiofs, or it is not known whether it does',
  wayOut: 'stop the guest first',
};

function dimmDenial(wanted: number): Says | null {
  const isStep = wanted % dimmBytes === 0;
  return isStep && wanted >= staticBytes && wanted <= memoryMaxBytes
    ? null
    : {
        code: 'KR_MEMORY_STEP',
        reason: `${wanted} bytes cannot be plugged into a running guest`,
        wayOut: 'name 1 GiB to 4 TiB in steps of 512 MiB',
      };
}

function memoryDenial(facts: GuardFacts, wanted: number): Says | null {
  const { guest, executor } = facts;
  if (guest?.sample.kind === 'vm') {
    if (!guest.facts?.hotplug?.includes('memory')) return noHotplug('memory');
    const denial = executor?.driver?.name.startsWith('proxmox') ? dimmDenial(wanted) : null;
    if (denial) return denial;
    const bound = guest.facts.localResources;
    if (!bound || bound.some((name) => name.includes('virtiofs'))) return virtiofs;
  }
  return shrinkDenial(facts, wanted);
}

/** Automation must know what the guest ever used; a person answers for what it uses now. */
function shrinkDenial({ guest, origin }: GuardFacts, wanted: number): Says | null {
  const now = guest?.sample.memoryUsedBytes ?? null;
  const total = guest?.sample.memoryTotalBytes ?? null;
  const past = origin === 'engine' ? (guest?.memoryP99Bytes ?? null) : now;
  const used = now === null || past === null ? null : Math.max(now, past);
  if (total !== null && wanted >= total) return null;
  return used !== null && wanted >= used * shrinkMargin
    ? null
    : {
        code: 'KR_MEMORY_IN_USE',
        reason: `the guest uses ${used ?? 'an unknown number of'} bytes of memory`,
        wayOut: 'shrink to at least 1.25 times what it uses',
      };
}

const memory: Guard = {
  id: 'scale-memory',
  appliesTo: isScale,
  verdict(facts) {
    const { memoryBytes: wanted, balloonBytes } = argsOf(facts);
    const inputs: Fact[] = [
      { name: 'memoryBytes', value: wanted ?? null, unit: 'bytes' },
      { name: 'balloonBytes', value: balloonBytes ?? null, unit: 'bytes' },
      { name: 'usedBytes', value: facts.guest?.sample.memoryUsedBytes ?? null, unit: 'bytes' },
      { name: 'hotplug', value: facts.guest?.facts?.hotplug?.join(', ') ?? null },
    ];
    const rule = facts.guest?.sample.kind === 'vm' ? 'S1' : 'S2';
    if (!runs(facts)) return judged(rule, inputs, null);
    const denial = wanted === undefined ? null : memoryDenial(facts, wanted);
    const balloon = balloonBytes === undefined ? null : shrinkDenial(facts, balloonBytes);
    return judged(rule, inputs, denial ?? balloon);
  },
};

const cpus: Guard = {
  id: 'scale-cpus',
  appliesTo: isScale,
  verdict(facts) {
    const { guest } = facts;
    const isPlugged = argsOf(facts).cpuCount !== undefined && runs(facts);
    const isVm = guest?.sample.kind === 'vm';
    const hotplug = guest?.facts?.hotplug ?? null;
    return judged(
      'S2',
      [
        { name: 'cpuCount', value: argsOf(facts).cpuCount ?? null },
        { name: 'hotplug', value: hotplug?.join(', ') ?? null },
      ],
      isPlugged && isVm && !hotplug?.includes('cpu') ? noHotplug('cpu') : null,
    );
  },
};

const step: Guard = {
  id: 'scale-step',
  appliesTo: isScale,
  verdict(facts) {
    const { cpuCount, memoryBytes } = argsOf(facts);
    const { guest, origin } = facts;
    const pairs = [
      [cpuCount, guest?.sample.cpuCount ?? null],
      [memoryBytes, guest?.sample.memoryTotalBytes ?? null],
    ] as const;
    const factors = pairs.map(([wanted, now]) => {
      if (wanted === undefined) return 1;
      return now ? Math.max(wanted / now, now / wanted) : Infinity;
    });
    const isTooMuch = origin === 'engine' && Math.max(...factors) > stepFactorMax;
    return judged(
      'S3',
      [
        { name: 'origin', value: origin },
        { name: 'cpuCountNow', value: guest?.sample.cpuCount ?? null },
        { name: 'memoryBytesNow', value: guest?.sample.memoryTotalBytes ?? null, unit: 'bytes' },
      ],
      isTooMuch
        ? {
            code: 'KR_SCALE_STEP',
            reason: 'the change is more than twice or less than half of what the guest has',
            wayOut: 'go in steps of at most twice',
          }
        : null,
    );
  },
};

type Bound = number | null;
const isWithin = (value: number | undefined, low: Bound, high: Bound): boolean =>
  value === undefined || (low !== null && high !== null && value >= low && value <= high);

/** Without a policy of the guest, automation only observes its size. */
const sizes: Guard = {
  id: 'scale-policy',
  appliesTo: isScale,
  verdict(facts) {
    const { origin, guest } = facts;
    const { cpuCount, cpuLimit, memoryBytes, balloonBytes } = argsOf(facts);
    const known = guest?.sizes ?? null;
    const isInside =
      known !== null &&
      isWithin(cpuCount, known.cpuMin, known.cpuMax) &&
      isWithin(cpuLimit, known.cpuMin, known.cpuMax) &&
      isWithin(memoryBytes, known.memoryMinBytes, known.memoryMaxBytes) &&
      isWithin(balloonBytes, known.memoryMinBytes, known.memoryMaxBytes);
    return judged(
      'S3',
      [
        { name: 'origin', value: origin },
        { name: 'sizes', value: known && JSON.stringify(known) },
      ],
      origin !== 'engine' || isInside
        ? null
        : {
            code: 'KR_SCALE_POLICY',
            reason: known
              ? 'the size is outside of what the policy of the guest allows'
              : 'no policy names the sizes of this guest, so automation only observes it',
            wayOut: 'a person changes its size',
          },
    );
  },
};

export const scaleGuards: readonly Guard[] = [memory, cpus, step, sizes];
