/** What the guards would say of a command now, without any command: nothing is kept or begun. */
import { z } from 'zod';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { problems } from '../schemas.ts';
import { SubmitBody, wishOf } from './commands.ts';

const Denial = z.object({ code: z.string(), reason: z.string(), wayOut: z.string() });
const Rehearsed = z.object({
  isAllowed: z.boolean(),
  denial: Denial.nullable(),
  checks: z
    .array(
      z.object({
        rule: z.string(),
        facts: z.array(
          z.object({
            name: z.string(),
            value: z.union([z.number(), z.string(), z.boolean()]).nullable(),
          }),
        ),
        denial: Denial.nullable(),
      }),
    )
    .describe('Every rule that was asked, with the numbers it looked at'),
});
export type Rehearsed = z.infer<typeof Rehearsed>;

const plain = (denial: z.infer<typeof Denial> | null): z.infer<typeof Denial> | null =>
  denial && { code: denial.code, reason: denial.reason, wayOut: denial.wayOut };

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
      const { denial, verdicts } = answer;
      return {
        isAllowed: denial === null,
        denial: plain(denial),
        checks: verdicts.map(({ id: rule, facts, denial: against }) => ({
          rule,
          facts: facts.map(({ name, value }) => ({ name, value })),
          denial: plain(against),
        })),
      };
    },
  });
}
