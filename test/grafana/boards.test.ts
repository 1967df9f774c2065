/**
 * The boards and alert rules as files: fresh, complete, and asking for nothing that does not exist.
 * What they answer is shown against real servers beside this file.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { is_valid_flux as isValidFlux } from '@influxdata/flux-lsp-node';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { figures } from '../../backend/observe/figures.ts';
import { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import { alerts } from '../../grafana/source/alerts.ts';
import { grafanaFiles } from '../../grafana/source/build.ts';
import { type Store, stores } from '../../grafana/source/query.ts';
import { dataSourceUid } from '../../grafana/source/variables.ts';
import { type Board, boardsOf, grafana, read } from './files.ts';

const both = stores.map((store): [Store] => [store]);
const asked = ({ panels }: Board): string[] =>
  panels.flatMap(({ targets }) => targets.map(({ expr, query }) => expr ?? query ?? ''));

/** What Grafana puts in before it asks. */
const prelude = `option v = {timeRangeStart: -1h, timeRangeStop: now(), windowPeriod: 1m, defaultBucket: "kernreaktor", organization: "kernreaktor"}\n`;
const filledIn = (flux: string): string => {
  const text = flux.replaceAll(/\$\{(\w+):regex\}/g, 'x').replace('${price}', '0.3');
  const imports = text.match(/^import .*\n/gm)?.join('') ?? '';
  return (
    imports + prelude + text.replaceAll(/^import .*\n/gm, '').replaceAll('${resolution}', 'raw')
  );
};
const isAsking = (flux: string): boolean =>
  isValidFlux(filledIn(flux)) && /\|> range\(|schema\.tagValues\(.*start:/s.test(flux);

describe('the files of Grafana', () => {
  it('are those that the source writes, and no others', () => {
    const files = grafanaFiles();
    for (const [path, text] of files) expect([path, read(path)]).toEqual([path, text]);
    for (const store of stores) {
      const there = readdirSync(join(grafana, 'dashboards', store)).map(
        (name) => `dashboards/${store}/${name}`,
      );
      expect(there.filter((path) => !files.has(path))).toEqual([]);
      expect(there).toHaveLength(7);
    }
  });

  it.each(both)('name for %s a data source that exists, by its uid', (store) => {
    const folder = `provisioning/${store}`;
    const { datasources } = parse(read(`${folder}/datasources/kernreaktor.yaml`)) as {
      datasources: { uid: string; type: string }[];
    };
    expect(datasources).toHaveLength(1);
    expect(datasources[0]).toMatchObject({ uid: dataSourceUid[store], type: store });
    expect(read(`${folder}/alerting/kernreaktor.json`)).toContain(`"${dataSourceUid[store]}"`);
    expect(existsSync(join(grafana, folder, 'dashboards', 'kernreaktor.yaml'))).toBe(true);
  });
});

describe.each(both)('a board of %s', (store) => {
  const boards = boardsOf(store);

  it('has a uid of its own, panels with ids and places of their own, and a unit on each', () => {
    expect(new Set(boards.map(({ uid }) => uid)).size).toBe(boards.length);
    for (const { name, panels } of boards) {
      expect([name, panels.length > 4]).toEqual([name, true]);
      const cells = panels.flatMap(({ gridPos = { x: 0, y: 0, w: 0, h: 0 } }) =>
        Array.from({ length: gridPos.w * gridPos.h }, (_, index) =>
          [gridPos.x + (index % gridPos.w), gridPos.y + Math.floor(index / gridPos.w)].join(),
        ),
      );
      expect([name, new Set(cells).size]).toEqual([name, cells.length]);
      expect(cells.every((cell) => Number(cell.split(',')[0]) < 24)).toBe(true);
      for (const { title, fieldConfig, targets } of panels) {
        expect([title, fieldConfig?.defaults.unit ?? '']).not.toEqual([title, '']);
        expect([title, fieldConfig?.defaults.links?.length]).toEqual([title, 1]);
        const uids = new Set(targets.map(({ datasource }) => datasource.uid));
        expect([title, [...uids]]).toEqual([title, ['${datasource}']]);
        expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
      }
    }
  });

  it('has the same variables everywhere, and annotations of what was done', () => {
    const wanted = ['datasource', 'cluster', 'node', 'guest', 'kind', 'resolution', 'kernreaktor'];
    for (const { name, templating, annotations } of boards) {
      const names = (templating?.list ?? []).map((variable) => variable.name);
      expect([name, names.slice(0, wanted.length)]).toEqual([name, wanted]);
      expect([name, annotations?.list?.length]).toEqual([name, 1]);
    }
  });

  it('asks only for what is measured', () => {
    const measured = new Set([
      ...nodeMetrics.map(({ name }) => `node_${name}`),
      ...guestMetrics.map(({ name }) => `guest_${name}`),
    ]);
    const own = new Set(Object.values(figures).map(({ name }) => name as string));
    let count = 0;
    for (const text of boards.flatMap(asked)) {
      const names =
        store === 'prometheus'
          ? (text.match(/\b(?:node|guest)_[a-z]\w+/g) ?? [])
          : [
              ...text.matchAll(/_measurement == "(node|guest)" and r\._field == (.*?)\)\n/g),
            ].flatMap(([, entity, fields = '']) =>
              [...fields.matchAll(/"([a-z]\w+)"/g)]
                .map(([, field = '']) => field.replace(/_max$/, ''))
                .filter((field) => field !== 'raw')
                .map((field) => `${entity}_${field}`),
            );
      // Labels of our own figures stand in their selectors.
      for (const name of names) {
        if (own.has(`kr_${name}`)) continue;
        count += 1;
        expect(measured).toContain(name);
      }
    }
    expect(count).toBeGreaterThan(30);
  });
});

describe('Flux', () => {
  const texts = [
    ...boardsOf('influxdb').flatMap((board) => [
      ...asked(board).map((text): [string, string] => [board.name, text]),
      ...(board.templating?.list ?? []).flatMap(({ name, query }): [string, string][] =>
        typeof query === 'string' && query.includes('schema.') ? [[name, query]] : [],
      ),
    ]),
    ...alerts.map(({ uid, flux }): [string, string] => [uid, flux]),
  ];

  it('is what InfluxDB understands, and always asks for a span of time', () => {
    expect(texts.length).toBeGreaterThan(80);
    expect(texts.filter(([, text]) => !isAsking(text))).toEqual([]);
    // The checker itself takes an empty text and one without a range.
    expect(isAsking('')).toBe(false);
    expect(isAsking('from(bucket: "x")')).toBe(false);
    expect(isAsking('from(bucket: "x") |> range(start: -1h) |> nonsense()')).toBe(false);
  });
});

describe('an alert rule', () => {
  it.each(alerts)('$uid says what is wrong, where to read on, and what silence means', (spec) => {
    const page = read('../docs/alerts.md');
    expect(page).toContain(`\n## ${spec.title}\n\n<a id="${spec.uid}"></a>\n`);
    for (const store of stores) {
      const { groups } = JSON.parse(read(`provisioning/${store}/alerting/kernreaktor.json`)) as {
        groups: { rules: Record<string, unknown>[] }[];
      };
      const rule = groups[0]?.rules.find(({ uid }) => uid === spec.uid);
      expect(rule).toMatchObject({
        title: spec.title,
        condition: 'C',
        noDataState: spec.noData,
        for: spec.forDuration,
        annotations: { summary: spec.summary, runbook_url: `docs/alerts.md#${spec.uid}` },
      });
    }
  });
});
