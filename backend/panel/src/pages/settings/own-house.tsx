/** Where Kernreaktor itself lives: that node is never put to sleep. What nobody found a person says. */
import { call } from '../../api.ts';
import { nodeKeys } from '../../live.ts';
import { ask, Field, PasswordAgain, type Values } from '../../parts/dialog.tsx';
import { Answer, toast } from '../../parts/feedback.tsx';
import { useQuery } from '../../query.ts';
import { isAdmin, me } from '../../session.ts';

type Place = { part: string; cluster: string; node: string; guest: string | null };
type House = { residents: (Place & { by: string })[]; unknown: string[] };

const parts = ['backend', 'mariadb', 'influxdb', 'broker', 'gateway'] as const;

/** The answers so far with this one, which replaces what was said of the same part. */
function placesWith({ residents }: House, { part = '', place = '', guest = '' }: Values): Place[] {
  const said = residents
    .filter((one) => one.by === 'answer' && one.part !== part)
    .map((one) => ({ part: one.part, cluster: one.cluster, node: one.node, guest: one.guest }));
  if (place === '') return said;
  const [cluster = '', node = ''] = place.split('/');
  return [...said, { part, cluster, node, guest: guest.trim() === '' ? null : guest.trim() }];
}

const askPlace = (house: House, done: () => void): void =>
  ask({
    title: 'Where it lives',
    confirm: 'Keep',
    body: (
      <>
        <p>
          Neither that node nor that guest is switched off or moved away by itself. What Kernreaktor
          finds on its own is added to your answer, never taken away.
        </p>
        <Field label="Part">
          <select name="part">
            {parts.map((part) => (
              <option key={part} selected={part === (house.unknown[0] ?? parts[0])}>
                {part}
              </option>
            ))}
          </select>
        </Field>
        <Field label="Runs on">
          <select name="place">
            <option value="">no machine of these clusters</option>
            {nodeKeys.value.map((key) => (
              <option key={key}>{key}</option>
            ))}
          </select>
        </Field>
        <Field label="In guest (optional)" hint="Its id, where it runs in one">
          <input name="guest" maxLength={128} autocomplete="off" autocapitalize="none" />
        </Field>
        <PasswordAgain />
      </>
    ),
    run: async (values) => {
      const { password = '' } = values;
      const body = { places: placesWith(house, values), ...(password !== '' && { password }) };
      await call('PUT', 'own-house', { body });
      toast('Kept.', { kind: 'good' });
      done();
    },
  });

const Residents = ({ of }: { of: House['residents'] }) => (
  <ul class="plain-list">
    {of.map(({ part, cluster, node, guest, by }) => (
      <li key={`${part}${cluster}${node}${guest ?? ''}`}>
        <strong>{part}</strong> on{' '}
        <a href={`#/nodes/${cluster}/${node}`}>
          {cluster}/{node}
        </a>
        {guest !== null && `, in guest ${guest}`}{' '}
        <span class="faint">{by === 'answer' ? 'as you said' : `found by its ${by}`}</span>
      </li>
    ))}
  </ul>
);

export function OwnHouse() {
  const house = useQuery<House>('own-house', { everyMs: 30_000 });
  const mayAnswer = isAdmin.value && me.value?.clusters === null;
  return (
    <section aria-label="Own house">
      <h2>Where Kernreaktor lives</h2>
      <Answer of={house} what="its own house">
        {(found) => (
          <div class="card pad">
            <Residents of={found.residents} />
            {found.residents.length === 0 && (
              <p>None of its parts was found on a machine of its clusters.</p>
            )}
            {found.unknown.length > 0 && (
              <p class="warn-text">
                Nobody could find: {found.unknown.join(', ')}. Until somebody says where it is,
                nothing is put to sleep that could be it.
              </p>
            )}
            {mayAnswer && (
              <div class="buttons start">
                <button
                  type="button"
                  class={found.unknown.length > 0 ? '' : 'quiet'}
                  onClick={() => askPlace(found, house.reload)}
                >
                  Say where it is
                </button>
              </div>
            )}
          </div>
        )}
      </Answer>
    </section>
  );
}
