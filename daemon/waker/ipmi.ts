/**
 * Switches a machine on by its BMC through ipmitool. The password stays in its file, which
 * ipmitool reads itself: arguments, and the environment of a unit, can be read by every user. It only ever says "on", which a running machine ignores.
 */
import { allowTools, SandboxError, type ToolResult } from '../command/sandbox.ts';
import { questionLimits } from '../command/transient-unit.ts';
import { WakeError, type Waker, type WakeSent } from './port.ts';
import { readSecret } from './secret.ts';
import type { IpmiSettings } from './settings.ts';

/** A BMC that is busy answers within its retries; after that it is not there. */
const timeoutMs = 30_000;

function argvOf({ host, port, user, cipherSuite, passwordFile }: IpmiSettings): string[] {
  const cipher = cipherSuite === undefined ? [] : ['-C', `${cipherSuite}`];
  const session = ['-I', 'lanplus', '-H', host, '-p', `${port}`, '-U', user, ...cipher];
  return [...session, '-f', passwordFile, 'chassis', 'power', 'on'];
}

const failureOf = ({ killedBy, exitCode, stderr, stdout }: ToolResult): string => {
  if (killedBy === 'timeout') return `no answer within ${timeoutMs} ms`;
  if (killedBy === 'signal') return 'the wake was called off';
  const said = (stderr.trim() || stdout.trim()).slice(-300);
  return `ipmitool ended with ${exitCode ?? 'a signal'}: ${said}`;
};

export function createIpmiWaker(settings: IpmiSettings, serves: Waker['serves']): Waker {
  const { program: path, host, passwordFile } = settings;
  const run = allowTools([path]);
  async function wake(_: unknown, signal: AbortSignal): Promise<WakeSent> {
    // Looked at here, so that a wrong mode or an empty file has its own words.
    readSecret(passwordFile);
    const asked = { path, argv: argvOf(settings), env: {}, timeoutMs, signal };
    const result = await run({ ...asked, limits: questionLimits }).catch((cause: unknown) => {
      if (!(cause instanceof SandboxError)) throw cause;
      throw new WakeError('KR_WAKE_SEND', cause.message, { cause });
    });
    if (result.exitCode === 0) return { packets: 1, detail: `${host}: ${result.stdout.trim()}` };
    const code = result.exitCode === null ? 'KR_WAKE_SEND' : 'KR_WAKE_REFUSED';
    throw new WakeError(code, `${host}: ${failureOf(result)}`);
  }
  return { name: 'ipmi', wake, ...(serves && { serves }) };
}
