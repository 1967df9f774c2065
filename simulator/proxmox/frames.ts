/**
 * What a fake tool and the world say to each other over the unix socket: one JSON object a line.
 * An effect is announced first and begins only when the tool says that it stands in the log, so
 * the log never lacks an effect that happened.
 */
import { createInterface } from 'node:readline';
import type { Socket } from 'node:net';
import { z } from 'zod';

export const toolNames = ['pvesh', 'qm', 'pct', 'pvecm', 'ha-manager', 'pvenode'] as const;
export const ToolName = z.enum(toolNames);
export type ToolName = z.infer<typeof ToolName>;

export const Call = z.strictObject({
  node: z.string(),
  tool: ToolName,
  argv: z.array(z.string()),
});
export type Call = z.infer<typeof Call>;

export const Logged = z.strictObject({ step: z.literal('logged') });

/** One line of the effect log. */
export const Effect = z.strictObject({
  atMs: z.number(),
  node: z.string(),
  kind: z.string(),
  id: z.string(),
  upid: z.string().nullable(),
});
export type Effect = z.infer<typeof Effect>;

export const Frame = z.discriminatedUnion('step', [
  z.strictObject({ step: z.literal('out'), text: z.string() }),
  z.strictObject({ step: z.literal('err'), text: z.string() }),
  z.strictObject({ step: z.literal('effect'), effect: Effect }),
  z.strictObject({ step: z.literal('exit'), code: z.int() }),
]);
export type Frame = z.infer<typeof Frame>;

export const send = (socket: Socket, frame: object): void => {
  if (socket.writable) socket.write(`${JSON.stringify(frame)}\n`);
};

/** The JSON values of the lines, until the other side closes. */
export async function* received(socket: Socket): AsyncGenerator {
  for await (const line of createInterface({ input: socket })) yield JSON.parse(line) as unknown;
}
