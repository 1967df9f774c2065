import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Settings } from '../../../backend/config.ts';
import { readBrokerConfig } from '../../../broker/config.ts';
import { unknownSettings } from '../../../broker/contract/environment.ts';
import { readDaemonConfig } from '../../../daemon/config.ts';

const documented = readFileSync(
  join(import.meta.dirname, '..', '..', '..', 'docs', 'configuration.md'),
  'utf8',
);

it('knows every setting that the backend has and that the documents name', () => {
  const named = [...documented.matchAll(/`(KR_[A-Z_]+)`/g)].flatMap(([, name = '']) => {
    // A prefix, and the placeholder of the first paragraph.
    return name.endsWith('_') || /^KR_X(_FILE)?$/.test(name) ? [] : [name];
  });
  const names = [...Object.keys(Settings.shape), ...named];
  expect(names.length).toBeGreaterThan(30);
  const environment = Object.fromEntries(names.map((name) => [name, 'x']));
  expect(unknownSettings(environment)).toEqual([]);
});

it('lets no part take a slip of the hand for a setting, whatever else is right', () => {
  const slip = { KR_DATA_DIRR: '/data', KR_LOGLEVEL_FILE: '/level', HOME: '/root' };
  const fields = ['KR_DATA_DIRR', 'KR_LOGLEVEL_FILE'];
  expect(unknownSettings(slip).map(({ field }) => field)).toEqual(fields);
  const asked = { KR_MQTT_URL: 'mqtt://b', KR_CLUSTER: 'home', ...slip };
  for (const read of [
    () => readBrokerConfig(slip),
    () => readDaemonConfig({ environment: asked, hostName: 'n1' }),
  ]) {
    expect(read).toThrow('KR_DATA_DIRR: is not a setting; see docs/configuration.md');
  }
});

it('reads the broker by files, too, and names the one that is missing', () => {
  const read = () => readBrokerConfig({ KR_DATA_DIR_FILE: '/nowhere/data' });
  expect(read).toThrow('KR_DATA_DIR_FILE: cannot be read');
  const both = () => readBrokerConfig({ KR_DATA_DIR: '/a', KR_DATA_DIR_FILE: '/b' });
  expect(both).toThrow('set KR_DATA_DIR or KR_DATA_DIR_FILE, not both');
});
