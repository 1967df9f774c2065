/** Where Kernreaktor itself lives: that node is never put to sleep. */
import { Answer } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';

type House = {
  residents: { part: string; cluster: string; node: string; guest: string | null; by: string }[];
  unknown: string[];
};

export function OwnHouse() {
  const house = useQuery<House>('own-house', { everyMs: 30_000 });
  return (
    <section aria-label="Own house">
      <h2>Where Kernreaktor lives</h2>
      <Answer of={house} what="its own house">
        {({ residents, unknown }) => (
          <div class="card pad">
            <ul class="plain-list">
              {residents.map(({ part, cluster, node, guest, by }) => (
                <li key={`${part}${cluster}${node}${guest ?? ''}`}>
                  <strong>{part}</strong> on{' '}
                  <a href={`#/nodes/${cluster}/${node}`}>
                    {cluster}/{node}
                  </a>
                  {guest !== null && `, in guest ${guest}`} <span class="faint">{by}</span>
                </li>
              ))}
            </ul>
            {residents.length === 0 && (
              <p>None of its parts was found on a machine of its clusters.</p>
            )}
            {unknown.length > 0 && (
              <p class="warn-text">
                Nobody could find: {unknown.join(', ')}. Say where it is with{' '}
                <code>PUT /api/v1/own-house</code>; until then nothing is put to sleep that could be
                it.
              </p>
            )}
          </div>
        )}
      </Answer>
    </section>
  );
}
