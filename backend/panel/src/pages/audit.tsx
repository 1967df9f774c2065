/** The hash-chained record of who did what, with its check and an export of what is shown. */
import { useState } from 'preact/hooks';
import type { AuditEntry } from '../../../http/routes/decisions.ts';
import type { ClusterView } from '../../../http/views.ts';
import { get, type Page, problemOf, query } from '../api.ts';
import { counted, moment } from '../format.ts';
import { Answer, toast } from '../parts/feedback.tsx';
import { useQuery } from '../query.ts';
import { isAdmin, me } from '../session.ts';
import { saveFile } from '../parts/save-file.ts';
import { Search } from '../parts/filters.tsx';
import { Newest, Table } from '../parts/table.tsx';

const pageSize = 200;
const exportPageSize = 1_000;

type Check = { chain: string; ok: boolean; entries?: number; brokenAtSeq?: number; why?: string };

async function verify(cluster: string): Promise<void> {
  try {
    const check = await get<Check>(`audit/verify?${query({ cluster })}`);
    if (check.ok)
      toast(`${counted(check.entries ?? 0, 'link')} of the chain and no hash broken.`, {
        kind: 'good',
      });
    else toast(`Broken at entry ${check.brokenAtSeq}: ${check.why}`, { kind: 'bad' });
  } catch (error) {
    toast(problemOf(error).detail, { kind: 'bad' });
  }
}

/** The whole chain, page by page, as one JSON line per entry. */
async function save(cluster: string): Promise<void> {
  try {
    const lines: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await get<Page<AuditEntry>>(
        `audit?${query({ cluster, limit: exportPageSize, cursor })}`,
      );
      lines.push(...page.items.map((entry) => JSON.stringify(entry)));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    const content = new Blob([lines.join('\n')], { type: 'application/x-ndjson' });
    saveFile(`audit-${cluster || 'system'}.ndjson`, content);
    toast(`${counted(lines.length, 'line')} saved.`, { kind: 'good' });
  } catch (error) {
    toast(problemOf(error).detail, { kind: 'bad' });
  }
}

const matches = ({ actor, action, subject, detail }: AuditEntry, wanted: string): boolean =>
  `${actor} ${action} ${subject} ${JSON.stringify(detail)}`.toLowerCase().includes(wanted);

const Entries = ({ entries }: { entries: readonly AuditEntry[] }) => (
  <Table head={[{ number: 'No.' }, 'When', 'Who', 'What', 'Detail']}>
    {entries.map((entry) => (
      <tr key={entry.seq}>
        <td class="number">{entry.seq}</td>
        <td class="nowrap">
          <time dateTime={entry.at}>{moment(entry.at)}</time>
        </td>
        <td>{entry.actor}</td>
        <th scope="row">
          {entry.action} <span class="faint">{entry.subject}</span>{' '}
          {entry.phase !== 'done' && <small class="tag">{entry.phase}</small>}
        </th>
        <td class="wrap mono small-text">{JSON.stringify(entry.detail)}</td>
      </tr>
    ))}
  </Table>
);

export function AuditPage() {
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=1000');
  const seesSystem = isAdmin.value && me.value?.clusters === null;
  const [wanted, setWanted] = useState('');
  const [asked, setAsked] = useState<string | null>(null);
  const first = clusters.data?.items[0]?.id ?? '';
  const cluster = asked ?? (seesSystem ? '' : first);
  const isReady = cluster !== '' || seesSystem;
  const entries = useQuery<Page<AuditEntry>>(
    isReady ? `audit?${query({ cluster, limit: pageSize })}` : null,
  );
  return (
    <>
      <h1>Audit log</h1>
      <div class="filters" role="search">
        <Search what="the audit log" by="who, what, detail" value={wanted} set={setWanted} />
        <select
          aria-label="Chain"
          value={cluster}
          onChange={(event) => setAsked(event.currentTarget.value)}
        >
          {seesSystem && <option value="">system: accounts, tokens, enrolments</option>}
          {clusters.data?.items.map(({ id }) => (
            <option key={id}>{id}</option>
          ))}
        </select>
        <button
          type="button"
          class="quiet"
          disabled={!isReady}
          onClick={() => void verify(cluster)}
        >
          Check every hash
        </button>
        <button type="button" class="quiet" disabled={!isReady} onClick={() => void save(cluster)}>
          Save all of it
        </button>
      </div>
      <Answer of={entries} what="the audit log">
        {({ items, total }) => (
          <>
            <Entries entries={items.filter((entry) => matches(entry, wanted.toLowerCase()))} />
            {items.length === 0 && <p class="state-note">Nothing was done yet.</p>}
            <Newest shown={items.length} total={total} />
          </>
        )}
      </Answer>
    </>
  );
}
