import { expect, it } from 'vitest';
import { createObservation } from '../../../backend/observe/metrics.ts';

it('reads the figures of the other parts at each scrape, and drops what they no longer have', async () => {
  const broker: Record<string, number> = { clients: 3, waiting: 1 };
  const ingest: Record<string, number> = { telemetry: 5 };
  const observation = createObservation({
    ingest: () => ingest,
    broker: () => broker,
    nodes: () => ({ awake: 2, lost: 1 }),
    guests: () => 40,
  });
  const first = await observation.render();
  expect(first.contentType).toContain('text/plain');
  expect(first.text).toContain('kr_ingest_total{figure="telemetry"} 5');
  expect(first.text).toContain('kr_broker{figure="waiting"} 1');
  expect(first.text).toContain('kr_nodes{state="lost"} 1');
  expect(first.text).toContain('kr_guests 40');
  ingest['telemetry'] = 9;
  delete broker['waiting'];
  const second = await observation.render();
  expect(second.text).toContain('kr_ingest_total{figure="telemetry"} 9');
  expect(second.text).not.toContain('waiting');
});

it('counts requests by route and transitions by kind and state', async () => {
  const none = () => ({});
  const observation = createObservation({
    ingest: none,
    broker: none,
    nodes: none,
    guests: () => 0,
  });
  const seen = { route: '/api/v1/nodes', method: 'GET', status: 200, durationMs: 30 };
  observation.request(seen);
  observation.request({ ...seen, durationMs: 3 });
  observation.commandTransition('guest.start', 'FAILED');
  observation.refusedLogin();
  const { text } = await observation.render();
  const labels = 'route="/api/v1/nodes",method="GET",status="200"';
  expect(text).toContain(`kr_http_request_duration_seconds_count{${labels}} 2`);
  expect(text).toContain(`kr_http_request_duration_seconds_bucket{le="0.005",${labels}} 1`);
  expect(text).toContain('kr_command_transitions_total{kind="guest.start",state="FAILED"} 1');
  expect(text).toContain('kr_http_refused_logins_total 1');
});
