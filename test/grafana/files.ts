/** The files that Grafana reads, as a test looks at them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import { grafanaFiles } from '../../grafana/source/build.ts';
import type { Store } from '../../grafana/source/query.ts';

export const grafana = join(import.meta.dirname, '..', '..', 'grafana');
export const read = (path: string): string => readFileSync(join(grafana, path), 'utf8');

export type Target = {
  refId: string;
  expr?: string;
  query?: string;
  instant?: boolean;
  datasource: { type: string; uid: string };
};
export type Board = Omit<Dashboard, 'panels'> & {
  name: string;
  panels: (Omit<Panel, 'targets'> & { targets: Target[] })[];
};

export function boardsOf(store: Store): Board[] {
  const below = `dashboards/${store}/`;
  return [...grafanaFiles().keys()]
    .filter((path) => path.startsWith(below))
    .map((path) => ({
      ...(JSON.parse(read(path)) as Board),
      name: path.slice(below.length).replace('.json', ''),
    }));
}
