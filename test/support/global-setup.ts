/**
 * Runs once before all tests: the real servers they talk to are fetched, never installed, and the
 * panel that the backend serves is built.
 */
import { buildPanel } from '../../backend/panel/build.ts';
import { fetchServers, program } from './debian.ts';

export async function setup(): Promise<void> {
  await buildPanel();
  try {
    await fetchServers();
  } catch (error) {
    process.stderr.write(`could not fetch test servers: ${String(error)}\n`);
  }
  const missing = ['mariadbd', 'mosquitto', 'victoria-metrics'].filter(
    (name) => program(name) === undefined,
  );
  if (missing.length > 0) {
    throw new Error(
      `tests need ${missing.join(', ')}: install mariadb-server, mosquitto, mosquitto-clients and ` +
        'victoria-metrics, or run on a machine with apt-get',
    );
  }
}
