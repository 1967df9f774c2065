/**
 * Writes what Grafana reads: `node grafana/source/build.ts` fills grafana/dashboards and the alert
 * rules of grafana/provisioning. Both are committed; a test holds them against this.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import { alertFile } from './alerts.ts';
import { boards } from './boards.ts';
import { type BoardSpec, panelOf } from './panels.ts';
import { type Store, stores } from './query.ts';
import { annotationsOf, variablesOf } from './variables.ts';

function boardOf(spec: BoardSpec, store: Store): dashboard.Dashboard {
  const built = new dashboard.DashboardBuilder(spec.title)
    .uid(`kr-${store}-${spec.name}`)
    .description(spec.description)
    .tags(['kernreaktor', store])
    .time({ from: 'now-6h', to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .readonly()
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .link(
      new dashboard.DashboardLinkBuilder('Kernreaktor')
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags(['kernreaktor', store])
        .includeVars(true)
        .keepTime(true),
    )
    .annotation(annotationsOf(store));
  for (const variable of variablesOf(store)) built.withVariable(variable);
  if (spec.name === 'energy') {
    const price = { selected: true, text: '0.30', value: '0.30' };
    built.withVariable(
      new dashboard.TextBoxVariableBuilder('price')
        .label('Price per kWh')
        .defaultValue('0.30')
        .current(price),
    );
  }
  for (const panel of spec.panels) built.withPanel(panelOf(panel, store));
  return built.build();
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;

/** Path below grafana/ -> content. */
export function grafanaFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const store of stores) {
    for (const spec of boards) {
      files.set(`dashboards/${store}/${spec.name}.json`, json(boardOf(spec, store)));
    }
    files.set(`provisioning/${store}/alerting/kernreaktor.json`, json(alertFile(store)));
  }
  return files;
}

if (import.meta.main) {
  for (const [path, text] of grafanaFiles()) {
    const file = join(import.meta.dirname, '..', path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
