/** What the guards would say of a command now, without any command: nothing is kept or begun. */
import { z } from 'zod';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { problems } from '../schemas.ts';
import { SubmitBody, wishOf } from './commands.ts';

const Rehearsed = z.object({
  isAllowed: z.boolean(),
  denial: z.object({ code: z.string(), reason: z.string(), wayOut: z.string() }).nullable(),
});

export function rehearsalRoute(app: App, context: Context): void {
  app.post('/api/v1/commands/dry-run', {
    config: { access: 'commands:submit' },
    schema: {
      tags: ['commands'],
      summary: 'Whether it would be let through now, and if not, by which rule and the way out',
      body: SubmitBody,
      response: { 200: Rehearsed, ...problems },
    },
    handler: async (request) => {
      const wish = await wishOf(context, principalOfRequest(request), request.body);
      const answer = await context.commands.rehearse(wish);
      if (!answer.ok) throw refusalError(answer.refusal);
      const { denial } = answer;
      if (denial === null) return { isAllowed: true, denial: null };
      const { code, reason, wayOut } = denial;
      return { isAllowed: false, denial: { code, reason, wayOut } };
    },
  });
}
