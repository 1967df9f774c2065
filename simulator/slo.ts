/**
 * `--slo 'lost==0,p99<250ms'`: promises about the figures of a run. A promise about a figure that
 * could not be measured counts as broken, since silence is not success.
 */

/** Name -> unit of the figures that a promise may be about. */
export const figureUnits = {
  lost: 'count',
  p50: 'ms',
  p99: 'ms',
  max: 'ms',
  connect: 'ms',
  commandP50: 'ms',
  commandP99: 'ms',
  notTerminal: 'count',
  wrongEffects: 'count',
  rejected: 'count',
  refused: 'count',
  duplicates: 'count',
  dropped: 'count',
  unaccounted: 'count',
  backendRss: 'MiB',
  backendCpu: 'ratio',
  generatorCpu: 'ratio',
} as const;

export type FigureName = keyof typeof figureUnits;
export type Figures = Record<FigureName, number | null>;

export const nothingKnown = Object.fromEntries(
  Object.keys(figureUnits).map((name) => [name, null]),
) as Figures;

const operators = {
  '<': (a: number, b: number) => a < b,
  '<=': (a: number, b: number) => a <= b,
  '==': (a: number, b: number) => a === b,
  '>=': (a: number, b: number) => a >= b,
  '>': (a: number, b: number) => a > b,
};
type Operator = keyof typeof operators;

export type Promised = { figure: FigureName; operator: Operator; value: number; text: string };

/** What one of the unit we count in is worth in each unit a person may write. */
const factors: Record<(typeof figureUnits)[FigureName], Record<string, number>> = {
  count: { '': 1 },
  ms: { '': 1, ms: 1, s: 1000 },
  MiB: { '': 1, MiB: 1, MB: 1e6 / 2 ** 20, GiB: 1024 },
  ratio: { '': 1, '%': 0.01 },
};

const shape = /^\s*([A-Za-z0-9]+)\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]*)\s*$/;

export type ParsedSlo = { ok: true; promises: Promised[] } | { ok: false; why: string };

function parseOne(text: string): Promised | string {
  const match = shape.exec(text);
  if (match === null) {
    return `'${text.trim()}' is no promise: write a figure, one of < <= == >= >, and a number`;
  }
  const [, name = '', operator = '', digits = '', unit = ''] = match;
  if (!Object.hasOwn(figureUnits, name)) {
    return `no figure is called '${name}': use one of ${Object.keys(figureUnits).join(', ')}`;
  }
  const figure = name as FigureName;
  const factor = factors[figureUnits[figure]][unit];
  if (factor === undefined) {
    const units = Object.keys(factors[figureUnits[figure]]).filter((known) => known !== '');
    const way = units.length === 0 ? 'write a bare number' : `use ${units.join(' or ')}`;
    return `${name} is not measured in '${unit}': ${way}`;
  }
  const value = Number(digits) * factor;
  return { figure, operator: operator as Operator, value, text: text.trim() };
}

export function parseSlo(text: string): ParsedSlo {
  const promises: Promised[] = [];
  for (const part of text.split(',')) {
    const parsed = parseOne(part);
    if (typeof parsed === 'string') return { ok: false, why: parsed };
    promises.push(parsed);
  }
  return { ok: true, promises };
}

/** The promises that do not hold, each with the figure that broke it. */
export const brokenPromises = (promises: readonly Promised[], figures: Figures): string[] =>
  promises.flatMap(({ figure, operator, value, text }) => {
    const measured = figures[figure];
    if (measured !== null && operators[operator](measured, value)) return [];
    return [`${text} does not hold: ${figure} is ${measured ?? 'unknown'}`];
  });
