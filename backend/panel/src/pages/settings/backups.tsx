/** Backups: which there are, one more now, and taking one away. They leave encrypted. */
import { useState } from 'preact/hooks';
import { apiUrl, call, problemOf, token } from '../../api.ts';
import { bytes, moment } from '../../format.ts';
import { Answer, toast } from '../../parts/feedback.tsx';
import { saveFile } from '../../parts/save-file.ts';
import { Table } from '../../parts/table.tsx';
import { useQuery } from '../../query.ts';

type Backup = { name: string; at: string; bytes: number };
type Backups = { items: Backup[]; last: { at: string; problem: string | null } | null };

/** By a request of our own, since a link carries no token. */
async function download(name: string): Promise<void> {
  const response = await fetch(apiUrl(`backups/${encodeURIComponent(name)}`), {
    headers: { authorization: `Bearer ${token.value}` },
  });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  saveFile(name, await response.blob());
}

const failed = (error: unknown): void => toast(problemOf(error).detail, { kind: 'bad' });

const List = ({ items }: { items: readonly Backup[] }) => (
  <Table head={['Backup', 'Made', { number: 'Size' }, '']}>
    {items.map((backup) => (
      <tr key={backup.name}>
        <th scope="row" class="mono">
          {backup.name}
        </th>
        <td class="nowrap">{moment(backup.at)}</td>
        <td class="number">{bytes(backup.bytes)}</td>
        <td class="number">
          <button
            type="button"
            class="quiet small"
            aria-label={`Download ${backup.name}`}
            onClick={() => void download(backup.name).catch(failed)}
          >
            Download
          </button>
        </td>
      </tr>
    ))}
  </Table>
);

export function Backups() {
  const backups = useQuery<Backups>('backups', { everyMs: 30_000 });
  const [isBusy, setBusy] = useState(false);
  const make = async (): Promise<void> => {
    setBusy(true);
    try {
      const { name } = await call<Backup>('POST', 'backups');
      toast(`${name} is whole and on the disk.`, { kind: 'good' });
      backups.reload();
    } catch (error) {
      failed(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <section aria-label="Backups">
      <div class="heading">
        <h2>Backups</h2>
        <span class="grow" />
        <button type="button" disabled={isBusy} onClick={() => void make()}>
          {isBusy ? 'Making it …' : 'Back up now'}
        </button>
      </div>
      <p class="faint">
        Accounts, clusters, policies, decisions, commands and keys, encrypted. Nobody opens one
        without the key file of this server: keep a copy of it elsewhere. Restoring is done on the
        server, by <code>kernreaktor restore</code>.
      </p>
      <Answer of={backups} what="backups">
        {({ items, last }) => (
          <>
            {last?.problem && (
              <p class="notice" role="alert">
                The last one, {moment(last.at)}, failed: {last.problem}
              </p>
            )}
            {items.length === 0 ? (
              <p class="state-note">None yet; the first comes by itself within 15 minutes.</p>
            ) : (
              <List items={items} />
            )}
          </>
        )}
      </Answer>
    </section>
  );
}
