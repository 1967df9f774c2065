/** Where one is signed in, and ending that. */
import type { SessionView } from '../../../../http/routes/second-factor.ts';
import { call } from '../../api.ts';
import { moment } from '../../format.ts';
import { ask } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';
import { useQuery } from '../../query.ts';

const programs: readonly (readonly [RegExp, string])[] = [
  [/Firefox\//, 'Firefox'],
  [/Edg\//, 'Edge'],
  [/Chrome\//, 'Chrome'],
  [/Safari\//, 'Safari'],
];
const systems: readonly (readonly [RegExp, string])[] = [
  [/Android/, 'Android'],
  [/iPhone|iPad/, 'iOS'],
  [/Windows/, 'Windows'],
  [/Mac OS/, 'macOS'],
  [/Linux/, 'Linux'],
];

/** `Firefox on Linux`; what nothing is known of stands as it was sent. */
function agentName(agent: string): string {
  const program = programs.find(([pattern]) => pattern.test(agent))?.[1];
  const system = systems.find(([pattern]) => pattern.test(agent))?.[1];
  if (program === undefined) return agent === '' ? 'unknown' : agent;
  return system === undefined ? program : `${program} on ${system}`;
}

const askEnd = (session: SessionView, done: () => void): void =>
  ask({
    title: `End the session of ${agentName(session.userAgent)}`,
    confirm: 'End it',
    isDangerous: true,
    body: <p>Whoever uses it has to sign in again.</p>,
    run: async () => {
      await call('DELETE', `sessions/${session.id}`);
      toast('It is ended.', { kind: 'good' });
      done();
    },
  });

export function Sessions() {
  const sessions = useQuery<{ items: SessionView[] }>('sessions', { everyMs: 30_000 });
  return (
    <section aria-label="Sessions">
      <h2>Where you are signed in</h2>
      <Answer of={sessions} what="sessions">
        {({ items }) => (
          <Table head={['With', 'From', 'Since', 'Ends', '']}>
            {items.map((session) => (
              <tr key={session.id}>
                <th scope="row" title={session.userAgent}>
                  {agentName(session.userAgent)}{' '}
                  {session.isThis && <small class="tag">this one</small>}
                </th>
                <td>{session.address}</td>
                <td class="nowrap">{moment(session.createdAt)}</td>
                <td class="nowrap">{moment(session.expiresAt)}</td>
                <td class="number">
                  {!session.isThis && (
                    <button
                      type="button"
                      class="quiet small danger-text"
                      onClick={() => askEnd(session, sessions.reload)}
                    >
                      End
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Answer>
    </section>
  );
}
