/** A report as a table for people, with what is wrong below it. Pure. */
import { mebibytes, type Report } from './report.ts';

const text = (value: number | null, unit = ''): string =>
  value === null ? 'unknown' : `${Number(value.toFixed(2))}${unit}`;
const percent = (ratio: number | null): string =>
  ratio === null ? 'unknown' : `${Math.round(ratio * 100)} %`;

function commandRows({ commands }: Report): [string, string][] {
  if (commands === null) return [];
  const { notTerminal, indeterminate, wrongEffects, refused } = commands;
  return [
    [
      'commands',
      `${commands.count}, ${refused} refused at the door, ${commands.skipped} without a guest that fits`,
    ],
    ['  not ended', `${notTerminal}, of them ${indeterminate} INDETERMINATE`],
    ['  wrong effects', String(wrongEffects.length)],
    [
      '  offer to started',
      `p50 ${text(commands.offerToStartedP50Ms, ' ms')}, p99 ${text(commands.offerToStartedP99Ms, ' ms')}`,
    ],
    ...commands.kinds.map(({ kind, states, ...times }): [string, string] => [
      `  ${kind}`,
      `${Object.entries(states)
        .map(([state, count]) => `${count} ${state}`)
        .join(
          ', ',
        )}; started after p50 ${text(times.offerToStartedP50Ms, ' ms')}, p99 ${text(times.offerToStartedP99Ms, ' ms')}`,
    ]),
  ];
}

function accountRows({ accounts }: Report): [string, string][] {
  if (accounts === null) return [['accounts', 'unknown']];
  const { sent, stored, duplicates, rejected, rejectedBy, dropped, unaccounted } = accounts;
  const codes = Object.entries(rejectedBy).map(([code, count]) => `${count} ${code}`);
  return [
    [
      'messages',
      `${sent} sent = ${stored} stored + ${duplicates} repeated + ${rejected} rejected + ` +
        `${dropped.link} lost with a link + ${dropped.ingest} dropped by the server` +
        (unaccounted === 0 ? '' : ` + ${unaccounted} UNACCOUNTED`),
    ],
    ...(codes.length === 0 ? [] : [['  rejected', codes.join(', ')] as [string, string]]),
  ];
}

const stageRows = ({ stages, knee }: Report): [string, string][] =>
  stages.length < 2
    ? []
    : stages.map((stage, index) => [
        `  stage ${stage.stage}`,
        `${stage.nodes} nodes at ${stage.intervalMs} ms: ${text(stage.sentPerSecond, '/s')}, ` +
          `p99 ${text(stage.publishToStateMs.p99, ' ms')}, ` +
          `backend ${percent(stage.backendCpuRatio)}` +
          (knee === null ? '' : `, ${knee.steps[index]?.holds ? 'holds' : 'breaks'}`),
      ]);

function kneeRows({ knee }: Report): [string, string][] {
  if (knee === null) return [];
  const { found } = knee;
  return found === null
    ? [['knee', 'not even the lowest load held']]
    : [['knee', `${found.perSecond}/s: ${found.nodes} nodes at ${found.intervalMs} ms`]];
}

export function renderReport(report: Report): string {
  const { samples, publishToStateMs: latency, generator, backend } = report;
  const rows: [string, string][] = [
    [
      'load',
      `${report.name}, scenario ${report.scenario}, seed ${report.seed}, ${report.durationMs / 1000} s`,
    ],
    [
      'connected',
      `${report.connectedNodes} of ${report.firstNodes} in ${text(report.connectMs, ' ms')}`,
    ],
    ['samples', `${samples.taken} taken, ${samples.sent} sent, ${samples.replayed} replayed`],
    ['lost', `${text(samples.lost)} (stored ${text(samples.stored)}, dropped ${samples.dropped})`],
    [
      'publish to state',
      `p50 ${text(latency.p50, ' ms')}, p99 ${text(latency.p99, ' ms')}, max ${text(latency.max, ' ms')} of ${latency.count}`,
    ],
    ...accountRows(report),
    ...stageRows(report),
    ...kneeRows(report),
    ['rejected messages', String(report.rejectedMessages)],
    [
      'backend',
      `${percent(backend.cpuRatio)} of a core, peak ${text(mebibytes(backend.rssPeakBytes), ' MiB')}`,
    ],
    [
      'simulator',
      `${percent(generator.cpuRatio)} of a core, peak ${text(mebibytes(generator.rssPeakBytes), ' MiB')}, late by p99 ${text(generator.lagP99Ms, ' ms')}`,
    ],
    ['energy', `${text(report.energyKilowattHours)} kWh, ${report.effects} effects`],
    ...commandRows(report),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const table = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
  const verdict = [
    ...report.invalidBecause.map((why) => `INVALID: ${why}`),
    ...(report.commands?.wrongEffects ?? []).slice(0, 10).map((why) => `WRONG: ${why}`),
    ...report.brokenPromises.map((why) => `BROKEN: ${why}`),
  ];
  return [...table, ...verdict].join('\n');
}
