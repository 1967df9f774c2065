import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Harness, startHarness } from './harness.ts';

let h: Harness;
type Schema = object;
type Media = { schema: Schema; example?: unknown; examples?: Record<string, { value: unknown }> };
type Operation = {
  summary?: string;
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { content?: Record<string, Media> }>;
};
type Document = { openapi: string; paths: Record<string, Record<string, Operation>> };
let document: Document;

beforeAll(async () => {
  h = await startHarness();
  document = (await h.app.inject('/openapi.json')).json<Document>();
});
afterAll(() => h.stop());

const examplesOf = ({ example, examples = {} }: Media): unknown[] => [
  ...(example === undefined ? [] : [example]),
  ...Object.values(examples).map(({ value }) => value),
];

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );

it('is OpenAPI 3.1 and lists every route of the API', () => {
  expect(document.openapi).toBe('3.1.0');
  const hidden = /^\/$|^\/assets\/|^\/install\/|^\/icon\.svg$|^\/docs|^\/openapi\.json$/;
  const served = h.server.routes
    .filter(({ method, url }) => method !== 'HEAD' && !hidden.test(url))
    .map(({ method, url }) => `${method} ${url.replaceAll(/:([A-Za-z]+)/g, '{$1}')}`);
  const listed = operations().map(({ path, method }) => `${method.toUpperCase()} ${path}`);
  expect(listed.toSorted()).toEqual(served.toSorted());
  expect(listed.length).toBeGreaterThan(30);
});

it('gives every operation a summary and every body an example', () => {
  const bare: string[] = [];
  for (const { path, operation } of operations()) {
    if (!operation.summary) bare.push(path);
    const media = operation.requestBody?.content['application/json'];
    if (media && examplesOf(media).length === 0) bare.push(path);
  }
  expect(bare).toEqual([]);
});

it('holds schemas that compile and examples that satisfy them', () => {
  let examples = 0;
  const wrong: string[] = [];
  for (const { path, method, operation } of operations()) {
    const bodies = [operation.requestBody, ...Object.values(operation.responses)];
    for (const media of bodies.flatMap((body) => Object.values(body?.content ?? {}))) {
      const ajv = new Ajv2020({ strict: false, validateFormats: false });
      const validate = ajv.compile(media.schema);
      for (const example of examplesOf(media)) {
        examples += 1;
        if (!validate(example)) wrong.push(`${method} ${path}: ${ajv.errorsText(validate.errors)}`);
      }
    }
  }
  expect(wrong).toEqual([]);
  expect(examples).toBeGreaterThan(20);
});

it('is shown by a page that needs no inline script or style', async () => {
  const page = await h.app.inject('/docs');
  const answer = page.statusCode === 302 ? await h.app.inject('/docs/') : page;
  expect(answer.statusCode).toBe(200);
  expect(answer.headers['content-security-policy']).toContain("script-src 'self'");
  expect(answer.headers['content-security-policy']).not.toContain('unsafe');
  expect(answer.body).not.toMatch(/<script(?![^>]*src=)|<style|\sstyle=|\son\w+=/);
  const initializer = await h.app.inject('/docs/static/swagger-initializer.js');
  expect(initializer.body).toContain('/openapi.json');
});
