/**
 * A page in each of its states, by answering its questions in the server's stead: nothing there,
 * no answer yet, a failure of the server, no server.
 */
import type { BrowserContext, Route } from 'playwright-core';

export const states = ['empty', 'loading', 'error', 'offline'] as const;
export type State = (typeof states)[number];

/** Who is signed in, and what the frame asks, is answered truly. */
const ofTheFrame = /\/api\/v1\/(session|setup|hold)$/;

const failure = {
  status: 503,
  contentType: 'application/problem+json',
  body: JSON.stringify({
    type: 'about:blank',
    code: 'KR_UNAVAILABLE',
    title: 'The store does not answer',
    status: 503,
    detail: 'The question waited for 5 s.',
    wayOut: 'It is asked again by itself.',
  }),
};

/** What has no list stays as it is: an empty list is the only emptiness there is. */
async function emptied(route: Route): Promise<void> {
  const answer = await route.fetch();
  const body = (await answer.json().catch(() => null)) as Record<string, unknown> | null;
  if (body === null || !answer.ok()) return route.fulfill({ response: answer });
  const nothing = ['items', 'series', 'residents', 'history', 'intents', 'nonActions', 'commands'];
  for (const name of nothing) if (Array.isArray(body[name])) body[name] = [];
  if ('total' in body) Object.assign(body, { total: 0, nextCursor: null });
  return route.fulfill({ response: answer, json: body });
}

export async function enter(context: BrowserContext, state: State): Promise<void> {
  await context.routeWebSocket(/\/api\/v1\/stream/, (socket) => {
    if (state === 'offline') void socket.close();
    // It listens, and has nothing to tell; while loading it does not even say so.
    socket.onMessage(() => {
      if (state !== 'loading') socket.send(JSON.stringify({ topic: 'subscribed' }));
    });
  });
  await context.route(/\/api\/v1\//, async (route) => {
    if (ofTheFrame.test(new URL(route.request().url()).pathname)) return route.continue();
    if (state === 'offline') return route.abort('connectionrefused');
    if (state === 'error') return route.fulfill(failure);
    if (state === 'empty') return emptied(route);
    // Loading: no answer comes.
    return undefined;
  });
}
