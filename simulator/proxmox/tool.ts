/**
 * The body of every fake tool: asks the world over its socket, prints what it says, ends with its
 * exit code. It alone writes the effect log, by appending one line before the world may begin.
 * Arguments: settings file, tool name, then those of the real tool.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { z } from 'zod';
import { Frame, received, send, ToolName } from './frames.ts';

const Settings = z.strictObject({
  socket: z.string(),
  node: z.string(),
  effectLog: z.string(),
});

async function run([
  settingsPath = '',
  toolName = '',
  ...argv
]: readonly string[]): Promise<number> {
  const settings = Settings.parse(JSON.parse(readFileSync(settingsPath, 'utf8')));
  const tool = ToolName.parse(toolName);
  const socket = connect(settings.socket);
  // The loop below ends without an exit frame then, which is answered with 255.
  socket.on('error', (error) => process.stderr.write(`${error.message}\n`));
  send(socket, { node: settings.node, tool, argv });
  for await (const line of received(socket)) {
    const frame = Frame.parse(line);
    if (frame.step === 'out') process.stdout.write(frame.text);
    else if (frame.step === 'err') process.stderr.write(frame.text);
    else if (frame.step === 'exit') {
      socket.destroy();
      return frame.code;
    } else {
      appendFileSync(settings.effectLog, `${JSON.stringify({ ...frame.effect, tool, argv })}\n`);
      send(socket, { step: 'logged' });
    }
  }
  return 255;
}

process.exitCode = await run(process.argv.slice(2));
