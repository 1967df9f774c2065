/** Settings by subject, each at its own address; only what one's role may use is offered. */
import type { ComponentType } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { isAdmin, me } from '../session.ts';
import { Accounts } from './settings/accounts.tsx';
import { Autonomy } from './settings/autonomy.tsx';
import { Backups } from './settings/backups.tsx';
import { Daemons } from './settings/daemons.tsx';
import { Notices } from './settings/notices.tsx';
import { OwnHouse } from './settings/own-house.tsx';
import { Quotas } from './settings/quotas.tsx';
import { SecondFactor } from './settings/second-factor.tsx';
import { Sessions } from './settings/sessions.tsx';
import { Tokens } from './settings/tokens.tsx';

type Subject = {
  path: string;
  name: string;
  parts: readonly ComponentType[];
  /** Only for administrators of everything. */
  isOfAll?: true;
};

const subjects: readonly Subject[] = [
  { path: 'nodes', name: 'Nodes', parts: [Daemons] },
  { path: 'engine', name: 'Engine', parts: [Autonomy] },
  { path: 'house', name: 'Own house', parts: [OwnHouse], isOfAll: true },
  { path: 'quotas', name: 'Quotas', parts: [Quotas] },
  { path: 'sign-in', name: 'Sign-in', parts: [SecondFactor, Sessions, Tokens] },
  { path: 'accounts', name: 'Accounts', parts: [Accounts], isOfAll: true },
  { path: 'notices', name: 'Notices', parts: [Notices], isOfAll: true },
  { path: 'backups', name: 'Backups', parts: [Backups], isOfAll: true },
];

export function SettingsPage({ subject = 'nodes' }: { subject?: string }) {
  const isUnrestricted = isAdmin.value && me.value?.clusters === null;
  const offered = subjects.filter(({ isOfAll }) => isOfAll !== true || isUnrestricted);
  const tabs = useRef<HTMLElement>(null);
  // On a phone the tabs are wider than the screen.
  useEffect(() => {
    const here = tabs.current?.querySelector('[aria-current]');
    here?.scrollIntoView({ inline: 'center', block: 'nearest' });
  }, [subject, offered.length]);
  const shown = offered.find(({ path }) => path === subject);
  return (
    <>
      <h1>Settings</h1>
      <nav class="tabs" aria-label="Settings" ref={tabs}>
        {offered.map(({ path, name }) => (
          <a
            key={path}
            href={`#/settings/${path}`}
            aria-current={path === subject ? 'page' : undefined}
          >
            {name}
          </a>
        ))}
      </nav>
      {shown ? (
        shown.parts.map((Part, index) => <Part key={`${shown.path}${index}`} />)
      ) : (
        <p class="state-note">{me.value ? 'Your role has no such settings.' : 'Loading …'}</p>
      )}
    </>
  );
}
