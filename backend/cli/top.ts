/** `top`: the busiest nodes first, drawn anew every two seconds until Ctrl-C. */
import type { Clock } from '../../broker/contract/ports.ts';
import { drawn, percent, watts } from '../format.ts';
import type { ClientApi } from './api.ts';
import { allNodes } from './find.ts';
import { nodeTable } from './look.ts';
import { json } from './output.ts';
import { pause } from '../pause.ts';
import type { NodeRow } from './views.ts';

const everyMs = 2_000;
const clearScreen = '\u001b[H\u001b[J';
/** Without a terminal's height: as many as a small one shows. */
const rowsDefault = 24;
const headRows = 3;

type Screen = { write(text: string): unknown; rows?: number; isTTY?: boolean };

const sum = (rows: readonly NodeRow[], value: (row: NodeRow) => number | null): number =>
  rows.reduce((total, row) => total + (value(row) ?? 0), 0);

function headline(rows: readonly NodeRow[]): string {
  const awake = rows.filter(({ state }) => state === 'awake');
  const cpus = sum(awake, (row) => (row.cpuRatio === null ? 0 : row.cpuCount));
  const busy = sum(awake, (row) => (row.cpuRatio ?? 0) * (row.cpuCount ?? 0));
  const isEstimated = awake.some((row) => row.powerEstimatedWatts !== null);
  return (
    `${awake.length} of ${rows.length} nodes awake, cpu ${percent(cpus > 0 ? busy / cpus : 0)}, ` +
    `${sum(rows, (row) => row.guestCount)} guests, ` +
    `${isEstimated ? '≈ ' : ''}${watts(sum(awake, drawn))}`
  );
}

/** Where output is no terminal, it is drawn once; as JSON, too. */
export async function top(
  screen: Screen,
  isJson: boolean,
  { api, clock, signal }: { api: ClientApi; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const isLive = screen.isTTY === true;
  while (!signal.aborted) {
    const rows = (await allNodes(api)).sort((a, b) => (b.cpuRatio ?? -1) - (a.cpuRatio ?? -1));
    if (isJson) return void screen.write(`${json(rows)}\n`);
    const shown = isLive ? rows.slice(0, (screen.rows ?? rowsDefault) - headRows - 1) : rows;
    screen.write(`${isLive ? clearScreen : ''}${headline(rows)}\n\n${nodeTable(shown)}\n`);
    if (!isLive) return;
    await pause({ clock, signal }, everyMs);
  }
}
