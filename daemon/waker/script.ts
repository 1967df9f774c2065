/**
 * Switches a machine on by a program of the administrator, under the same trust as every other.
 * Exit code 0 means that it sent, never that the machine woke.
 */
import { SandboxError } from '../command/sandbox.ts';
import type { ScriptRunner } from '../command/script-trust.ts';
import { questionLimits } from '../command/transient-unit.ts';
import { WakeError, type Waker, type WakeRequest, type WakeSent } from './port.ts';
import type { ScriptSettings } from './settings.ts';

/** The node to wake is KR_NODE; the rest helps a program that sends packets itself. */
const environmentOf = ({ node, macs, broadcasts, commandId }: WakeRequest) => ({
  KR_KIND: 'node.wake',
  KR_NODE: node,
  KR_MACS: macs.join(' '),
  KR_BROADCASTS: broadcasts.join(' '),
  ...(commandId === undefined ? {} : { KR_COMMAND_ID: commandId }),
});

export function createScriptWaker(
  { program: path, timeoutMs }: ScriptSettings,
  scripts: ScriptRunner,
  serves: Waker['serves'],
): Waker {
  async function wake(request: WakeRequest, signal: AbortSignal): Promise<WakeSent> {
    const env = environmentOf(request);
    const asked = { path, argv: [], env, timeoutMs, signal, limits: questionLimits };
    const result = await scripts.run(asked).catch((cause: unknown) => {
      if (!(cause instanceof SandboxError)) throw cause;
      throw new WakeError('KR_WAKE_SEND', cause.message, { cause });
    });
    const { exitCode, killedBy, stdout, stderr } = result;
    if (exitCode === 0) {
      const said = stdout.trim().slice(-300);
      return { packets: 1, detail: said === '' ? `${path} ended with 0` : `${path}: ${said}` };
    }
    const said = stderr.trim().slice(-300);
    const ending = killedBy === 'timeout' ? `took longer than ${timeoutMs} ms` : 'was called off';
    const why = killedBy === null ? `ended with ${exitCode ?? 'a signal'}: ${said}` : ending;
    throw new WakeError('KR_WAKE_REFUSED', `${path} ${why}`);
  }
  return { name: 'script', wake, ...(serves && { serves }) };
}
