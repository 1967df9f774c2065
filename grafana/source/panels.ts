/**
 * Panels and boards as this product draws them: one look, the same variables everywhere, a unit on
 * every number, and a link from each node, guest and command into Kernreaktor's own pages.
 */
import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';
import { nodeStates } from '../../backend/state/fleet.ts';
import { isInstant, type Query, type Store, textOf } from './query.ts';

export type Look = {
  unit: string;
  span?: number;
  height?: number;
  max?: number;
  description?: string;
  stacked?: boolean;
};
export type Kind = 'lines' | 'stat' | 'bars' | 'table' | 'heat' | 'states';
export type PanelSpec = { title: string; kind: Kind; queries: readonly Query[]; look: Look };
export type BoardSpec = {
  name: string;
  title: string;
  description: string;
  panels: readonly PanelSpec[];
};

export const datasourceType: Record<Store, string> = {
  influxdb: 'influxdb',
  prometheus: 'prometheus',
};
const source = (store: Store): common.DataSourceRef => ({
  type: datasourceType[store],
  uid: '${datasource}',
});

/** The SDK has no query of InfluxDB; the data source asks for no more than this. */
type FluxQuery = Dataquery & { refId: string; query: string; datasource: common.DataSourceRef };
export const fluxTarget = (query: string, refId: string, uid = '${datasource}') => {
  const target: FluxQuery = {
    refId,
    query,
    datasource: { type: 'influxdb', uid },
    _implementsDataqueryVariant: () => {},
  };
  const build: Builder<FluxQuery> = { build: () => target };
  return build;
};

function target(query: Query, store: Store, refId: string): Builder<Dataquery> {
  const text = textOf(query, store);
  if (store === 'influxdb') return fluxTarget(text, refId);
  const built = new prometheus.DataqueryBuilder()
    .expr(text)
    .refId(refId)
    .legendFormat(query.legend)
    .datasource(source(store));
  return isInstant(query)
    ? built.instant().format(prometheus.PromQueryFormat.Table)
    : built.range().interval('$resolution');
}

const link = (title: string, path: string) =>
  new dashboard.DashboardLinkBuilder(title)
    .type(dashboard.DashboardLinkType.Link)
    .url(`\${kernreaktor}/#${path}`)
    .targetBlank(true);

const byEntity = {
  node: link('Node in Kernreaktor', '/nodes/${__field.labels.cluster}/${__field.labels.node}'),
  guest: link('Guest in Kernreaktor', '/guests/${__field.labels.cluster}/${__field.labels.guest}'),
  activity: link('Activity in Kernreaktor', '/activity'),
} as const;

/** Where a value leads: to what it was measured on, else to what happened. */
function linkOf(queries: readonly Query[]): keyof typeof byEntity {
  const [first] = queries;
  if (first && 'entity' in first && first.fold === undefined) return first.entity;
  return 'activity';
}

const stateMapping: dashboard.ValueMapping = {
  type: dashboard.MappingType.ValueToText,
  options: Object.fromEntries(
    nodeStates.map((text, index) => {
      const colours: Record<string, string> = {
        awake: 'green',
        asleep: 'blue',
        stale: 'orange',
        lost: 'red',
      };
      return [String(index), { text, color: colours[text] ?? 'purple', index }];
    }),
  ),
};

function lines(look: Look) {
  const panel = new timeseries.PanelBuilder()
    .lineWidth(1)
    .fillOpacity(look.stacked === true ? 40 : 8)
    .showPoints(common.VisibilityMode.Never)
    // A gap is a gap: nobody was heard, or nothing was measured.
    .spanNulls(false)
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi))
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .showLegend(true),
    );
  return look.stacked === true
    ? panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal))
    : panel;
}

const last = () => new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false);

function bare(kind: Kind, look: Look) {
  if (kind === 'lines') return lines(look);
  if (kind === 'stat') return new stat.PanelBuilder().reduceOptions(last());
  if (kind === 'table') return new table.PanelBuilder();
  if (kind === 'heat') return new heatmap.PanelBuilder().calculate(true);
  if (kind === 'states') {
    return new statetimeline.PanelBuilder().mappings([stateMapping]).mergeValues(true);
  }
  return new bargauge.PanelBuilder()
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Gradient)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(true));
}

export function panelOf({ title, kind, queries, look }: PanelSpec, store: Store) {
  const panel = bare(kind, look)
    .title(title)
    .datasource(source(store))
    .unit(look.unit)
    .span(look.span ?? 12)
    .height(look.height ?? 8)
    .dataLinks([byEntity[linkOf(queries)]]);
  if (look.description !== undefined) panel.description(look.description);
  if (look.max !== undefined) panel.min(0).max(look.max);
  queries.forEach((query, index) =>
    panel.withTarget(target(query, store, String.fromCodePoint(65 + index))),
  );
  return panel;
}
