/**
 * Whatever went wrong, as problem details: our own refusals, failed schemas, Fastify's and
 * Node's errors. Anything unforeseen is a masked 500 whose cause stands in the log.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import type { Log, NewId } from '../../broker/contract/ports.ts';
import { MetricsQueryError } from '../store/metrics/errors.ts';
import { StoreUnavailable } from '../store/sql/errors.ts';
import type { App } from './app.ts';
import { type ErrorCode, HttpError, httpError, retryAfterMs } from './errors.ts';

const partCodes: Record<string, ErrorCode> = {
  body: 'KR_BODY',
  querystring: 'KR_QUERY',
  params: 'KR_PATH',
  headers: 'KR_HEADER',
};

type Issue = { instancePath: string; message?: string; params?: { keys?: unknown } };

/** `/args/targetNode` and an unknown key `x` there become `args.targetNode.x`. */
function fieldOf({ instancePath, params }: Issue): string {
  const path = instancePath.split('/').filter((part) => part !== '');
  const unknown = Array.isArray(params?.keys) ? params.keys.slice(0, 1).map(String) : [];
  return [...path, ...unknown].join('.');
}

function schemaError(issue: Issue, part: string): HttpError {
  const code = partCodes[part] ?? 'KR_REQUEST';
  const field = fieldOf(issue);
  return httpError(code, issue.message ?? 'invalid', { field: field === '' ? part : field });
}

/** Fastify's own errors that a client can cause, by its stable codes. */
function frameworkError(error: FastifyError): HttpError | undefined {
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return httpError('KR_CONTENT_TYPE', 'Only application/json is understood.', {
        field: 'Content-Type',
      });
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return httpError('KR_BODY_TOO_LARGE', 'The body is larger than this route accepts.', {
        field: 'body',
      });
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return httpError('KR_BODY_MISSING', 'The body is empty.', { field: 'body' });
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return httpError('KR_NOT_JSON', 'The body cannot be parsed.', { field: 'body' });
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return httpError('KR_HEADER', 'Content-Length does not match the body.', {
        field: 'Content-Length',
      });
    default:
      break;
  }
  const status = error.statusCode ?? 500;
  if (status === 413) {
    return httpError('KR_BODY_TOO_LARGE', 'The request is larger than accepted.');
  }
  return status >= 400 && status < 500
    ? httpError('KR_REQUEST', 'The request is malformed.')
    : undefined;
}

/** What a metrics store cannot answer as asked, or at all. */
const metricsError = (error: MetricsQueryError): HttpError =>
  error.field === 'store'
    ? httpError('KR_STORE_UNAVAILABLE', 'The metrics store does not answer.', {
        retryAfterMs: 5_000,
        cause: error,
      })
    : httpError('KR_QUERY', `${error.field}: ${error.message}.`, { field: error.field });

export function toHttpError(error: unknown): HttpError | undefined {
  if (error instanceof HttpError) return error;
  if (error instanceof StoreUnavailable) {
    const cause = { retryAfterMs, cause: error };
    return httpError('KR_STORE_UNAVAILABLE', 'The SQL store does not answer.', cause);
  }
  if (error instanceof MetricsQueryError) return metricsError(error);
  if (!(error instanceof Error)) return undefined;
  const failed = error as FastifyError;
  if (hasZodFastifySchemaValidationErrors(failed)) {
    const [issue] = failed.validation;
    return issue && schemaError(issue, failed.validationContext ?? '');
  }
  return frameworkError(failed);
}

export function sendProblem(reply: FastifyReply, error: HttpError): FastifyReply {
  const { problem, retryAfterMs } = error;
  if (retryAfterMs !== undefined) {
    void reply.header('retry-after', Math.max(1, Math.ceil(retryAfterMs / 1_000)));
  }
  if (problem.status === 401) void reply.header('www-authenticate', 'Bearer');
  return reply
    .code(problem.status)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    .send(JSON.stringify(problem));
}

/** `/api/v1/nodes/:node` as a pattern for the paths it matches. */
const patternOf = (url: string): RegExp =>
  new RegExp(
    `^${url
      .replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`)
      .replaceAll(/:[A-Za-z]+/g, '[^/]+')
      .replaceAll('*', '.*')}$`,
  );

export type RouteList = { method: string; url: string }[];

function methodsFor(routes: RouteList, path: string): string[] {
  return routes.filter(({ url }) => patternOf(url).test(path)).map(({ method }) => method);
}

export function installProblems(
  app: App,
  deps: { log: Log; newId: NewId; routes: RouteList },
): void {
  const { log, newId, routes } = deps;
  app.setErrorHandler((error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const known = toHttpError(error);
    if (known && known.problem.status < 500) return sendProblem(reply, known);
    const instance = `urn:uuid:${newId()}`;
    const route = request.routeOptions.url ?? 'unknown';
    if (known) log.warn({ instance, route, err: known.cause ?? known }, 'request refused');
    else log.error({ instance, route, err: error }, 'request failed');
    const answer = known ?? httpError('KR_INTERNAL', 'Something failed inside the server.');
    return sendProblem(
      reply,
      new HttpError(
        { ...answer.problem, instance },
        answer.retryAfterMs === undefined ? {} : { retryAfterMs: answer.retryAfterMs },
      ),
    );
  });
  app.setNotFoundHandler((request: FastifyRequest, reply: FastifyReply) => {
    const [path = ''] = request.url.split('?');
    const methods = [...new Set(methodsFor(routes, path))].sort();
    if (methods.length === 0) {
      return sendProblem(reply, httpError('KR_ROUTE', 'There is nothing at this path.'));
    }
    void reply.header('allow', methods.join(', '));
    const detail = `${request.method} is not possible here; ${methods.join(', ')} is.`;
    return sendProblem(reply, httpError('KR_METHOD', detail));
  });
}
