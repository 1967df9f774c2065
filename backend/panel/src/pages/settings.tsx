/** Letting nodes in, what the engine may do, accounts and tokens: each part on its own. */
import { isAdmin, me } from '../session.ts';
import { Accounts } from './settings/accounts.tsx';
import { Autonomy } from './settings/autonomy.tsx';
import { Daemons } from './settings/daemons.tsx';
import { OwnHouse } from './settings/own-house.tsx';
import { Tokens } from './settings/tokens.tsx';

export function SettingsPage() {
  const isUnrestricted = isAdmin.value && me.value?.clusters === null;
  return (
    <>
      <h1>Settings</h1>
      <Daemons />
      <Autonomy />
      {isUnrestricted && <OwnHouse />}
      {isUnrestricted && <Accounts />}
      <Tokens />
    </>
  );
}
