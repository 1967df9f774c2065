/**
 * The HTTP edge, put together: one Fastify app behind TCP, TLS and the unix socket. It checks who
 * asks and what is asked, then calls the stages; it decides nothing itself.
 */
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import fastifyStatic from '@fastify/static';
import websocket from '@fastify/websocket';
import fastify, { type FastifyRequest, type RouteOptions } from 'fastify';
import { validatorCompiler } from 'fastify-type-provider-zod';
import { createAccounts } from '../store/sql/accounts.ts';
import { version } from '../version.ts';
import { createSessions, createTokens } from '../store/sql/sessions.ts';
import type { App } from './app.ts';
import { createAuthentication } from './authentication.ts';
import type { Context, SetupToken } from './context.ts';
import type { HttpDeps } from './deps.ts';
import { installGuard } from './guard.ts';
import { createListeners, fastifyServerOptions, type Listeners } from './listeners.ts';
import { accountDelay, addressDelay, createLoginDelay } from './login-delay.ts';
import { installOpenApi, openApiRoute } from './openapi.ts';
import { sortedKeys } from './paging.ts';
import { createPasswords } from './passwords.ts';
import { installProblems, type RouteList } from './problems.ts';
import { createQueries } from './queries.ts';
import { backupRoutes } from './routes/backups.ts';
import { backtestRoutes } from './routes/backtests.ts';
import { clusterRoutes } from './routes/clusters.ts';
import { commandRoutes } from './routes/commands.ts';
import { decisionRoutes } from './routes/decisions.ts';
import { daemonRoutes } from './routes/daemons.ts';
import { enrolmentRoutes } from './routes/enrolments.ts';
import { fleetRoutes } from './routes/fleet.ts';
import { notificationRoutes } from './routes/notifications.ts';
import { operationRoutes } from './routes/operations.ts';
import { packageRoutes } from './routes/packages.ts';
import { pageRoutes, panelFolder } from './routes/page.ts';
import { policyRoutes } from './routes/policies.ts';
import { quotaRoutes } from './routes/quotas.ts';
import { rehearsalRoute } from './routes/rehearsal.ts';
import { secondFactorRoutes } from './routes/second-factor.ts';
import { sessionRoutes } from './routes/session.ts';
import { setupRoutes } from './routes/setup.ts';
import { streamRoutes } from './routes/stream.ts';
import { telemetryFleetRoutes } from './routes/telemetry-fleet.ts';
import { telemetryRoutes } from './routes/telemetry.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { userRoutes } from './routes/users.ts';
import { joiningRoutes } from './routes/joining.ts';
import { automationRoutes } from './routes/automation.ts';
import { maintenanceRoutes } from './routes/maintenance.ts';
import { powerSavingRoute } from './routes/power-saving.ts';
import { wakeProofRoutes } from './routes/wake-proofs.ts';
import { newSecret } from './secrets.ts';
import { createStream, type Stream } from './stream.ts';
import { createTotpCheck } from './totp.ts';

const bodyBytesMax = 64 * 1024;
/** SIGTERM must be over within 5 s; what has not answered by then is cut. */
const drainMs = 4_000;
const streamMessageBytesMax = 64 * 1024;

export type RouteInfo = RouteList[number] & { access: string };

export type HttpServer = {
  /** For tests and for requests from inside the process. */
  app: App;
  routes: readonly RouteInfo[];
  /** null once an account exists. */
  setupToken(): string | null;
  listen(): Promise<{ httpUrl: string; tlsUrl: string | null; socketPath: string }>;
  close(): Promise<void>;
};

const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", 'data:'],
    connectSrc: ["'self'"],
    fontSrc: ["'self'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
    baseUri: ["'none'"],
  },
};

async function createSetupToken(deps: HttpDeps, hasAccounts: boolean): Promise<SetupToken> {
  let token = hasAccounts ? null : newSecret(deps.random);
  return {
    current: () => token,
    async spend() {
      token = null;
      await deps.onSetupDone();
    },
  };
}

function collectRoutes(app: App): { routes: RouteInfo[]; assertDeclared: () => void } {
  const seen: RouteOptions[] = [];
  const routes: RouteInfo[] = [];
  app.addHook('onRoute', (route) => void seen.push(route));
  return {
    routes,
    assertDeclared() {
      for (const { method, url, config } of seen) {
        if (config?.access === undefined) throw new Error(`${String(method)} ${url} has no access`);
        for (const name of [method].flat())
          routes.push({ method: name, url, access: config.access });
      }
    },
  };
}

function installRoutes(app: App, context: Context, stream: Stream): void {
  setupRoutes(app, context);
  sessionRoutes(app, context);
  secondFactorRoutes(app, context);
  clusterRoutes(app, context);
  fleetRoutes(app, context);
  wakeProofRoutes(app, context);
  powerSavingRoute(app, context);
  maintenanceRoutes(app, context);
  automationRoutes(app, context);
  telemetryRoutes(app, context);
  telemetryFleetRoutes(app, context);
  commandRoutes(app, context);
  rehearsalRoute(app, context);
  quotaRoutes(app, context);
  decisionRoutes(app, context);
  backtestRoutes(app, context);
  policyRoutes(app, context);
  userRoutes(app, context);
  tokenRoutes(app, context);
  enrolmentRoutes(app, context);
  daemonRoutes(app, context);
  joiningRoutes(app, context);
  backupRoutes(app, context);
  packageRoutes(app, context);
  notificationRoutes(app, context);
  streamRoutes(app, context, stream);
  operationRoutes(app, context);
  openApiRoute(app);
  pageRoutes(app);
}

async function installPlugins(app: App): Promise<void> {
  app.setValidatorCompiler(validatorCompiler);
  // Views are built field by field and checked against their schemas by tests; checking 2,000
  // nodes again at every request would cost more than building them.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  // HSTS is left to whoever owns the name: our own certificate is for a private one.
  await app.register(helmet, { contentSecurityPolicy, strictTransportSecurity: false });
  await app.register(rateLimit, { global: false, cache: 20_000 });
  await app.register(fastifyStatic, { root: panelFolder, serve: false });
  await app.register(websocket, {
    options: { maxPayload: streamMessageBytesMax, perMessageDeflate: false },
    // Streams are ended by ours, with a reason, before the sockets are.
    preClose: (done) => done(),
  });
}

function observeRequests(
  app: App,
  { observation, commands, onDecision }: HttpDeps,
  stream: Stream,
) {
  app.addHook('onResponse', async (request, reply) => {
    observation.request({
      route: request.routeOptions.url ?? 'unknown',
      method: request.method,
      status: reply.statusCode,
      durationMs: reply.elapsedTime,
    });
  });
  commands.onEvent((event) => {
    observation.commandTransition(event.kind, event.state);
    stream.onCommand(event);
  });
  onDecision((event) => stream.onDecision(event));
}

async function createContext(deps: HttpDeps, isLocal: (request: FastifyRequest) => boolean) {
  const { clock, database, fleet, random } = deps;
  const accounts = createAccounts(database);
  const sessions = createSessions(database);
  const passwords = await createPasswords((count) => random.bytes(count));
  return {
    ...deps,
    accounts,
    sessions,
    tokens: createTokens(database),
    passwords,
    checkTotp: createTotpCheck(),
    authentication: createAuthentication({ accounts, sessions, passwords, clock, isLocal }),
    queries: createQueries(database),
    setup: await createSetupToken(deps, await accounts.exists()),
    delays: {
      byAccount: createLoginDelay(accountDelay),
      byAddress: createLoginDelay(addressDelay),
    },
    nodeKeys: sortedKeys(() => fleet().nodes),
    guestKeys: sortedKeys(() => fleet().guests),
  };
}

const drained = (listeners: Listeners, { clock }: HttpDeps): Promise<void> => {
  const cancel = clock.after(drainMs, () => listeners.cut());
  return listeners.close().finally(cancel);
};

export async function createHttpServer(deps: HttpDeps): Promise<HttpServer> {
  const { config, log, newId } = deps;
  const app: App = fastify({
    ...fastifyServerOptions,
    bodyLimit: bodyBytesMax,
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    // Duplicate keys, __proto__ and the like are refused, not repaired.
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    return503OnClosing: true,
    routerOptions: { maxParamLength: 256 },
  });
  const listeners = createListeners(app, config, log);
  const isLocal = (request: FastifyRequest): boolean => listeners.isLocal(request.raw.socket);
  const context = await createContext(deps, isLocal);
  const stream = createStream(deps);
  const { routes, assertDeclared } = collectRoutes(app);

  await installPlugins(app);
  installGuard(app, { config, authentication: context.authentication, isLocal });
  installProblems(app, { log, newId, routes });
  observeRequests(app, deps, stream);
  await installOpenApi(app, version);
  installRoutes(app, context, stream);
  await app.ready();
  assertDeclared();

  return {
    app,
    routes,
    setupToken: () => context.setup.current(),
    listen: async () => ({ ...(await listeners.listen()), socketPath: config.socketPath }),
    async close() {
      stream.close();
      await drained(listeners, deps);
      await app.close();
    },
  };
}
