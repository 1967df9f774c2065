/**
 * The frame of every page: where one is, whether what is shown is live, HOLD, and who is signed
 * in. Addresses are behind `#`, so that any path of a reverse proxy serves the panel as it is.
 */
import type { ComponentChildren } from 'preact';
import { Route, Router, Switch, useLocation } from 'wouter-preact';
import { useHashLocation } from 'wouter-preact/use-hash-location';
import { Drawer, DrawerButton } from './drawer.tsx';
import { HoldBanner, HoldButton } from './hold.tsx';
import { isLive } from './live.ts';
import { ActivityPage } from './pages/activity.tsx';
import { AuditPage } from './pages/audit.tsx';
import { BeginPage } from './pages/begin.tsx';
import { CommandPage } from './pages/command.tsx';
import { ChooseHostPage, CreatePage } from './pages/create.tsx';
import { DecisionPage } from './pages/decision.tsx';
import { DecisionsPage } from './pages/decisions.tsx';
import { FleetPage } from './pages/fleet.tsx';
import { GuestPage } from './pages/guest.tsx';
import { GuestsPage } from './pages/guests.tsx';
import { NodePage } from './pages/node.tsx';
import { PoliciesPage } from './pages/policies.tsx';
import { PolicyPage } from './pages/policies/editor.tsx';
import { SavingPage } from './pages/saving.tsx';
import { SettingsPage } from './pages/settings.tsx';
import { Empty } from './parts/feedback.tsx';
import { me, signOut } from './session.ts';
import { theme, type Theme, themes } from './theme.ts';

const places = [
  ['/', 'Fleet', 'M4 5h7v6H4zM13 5h7v6h-7zM4 13h7v6H4zM13 13h7v6h-7z'],
  ['/guests', 'Guests', 'M4 6h16M4 12h16M4 18h16'],
  ['/decisions', 'Decisions', 'M12 3v6m0 0l-6 5v5m6-10l6 5v5'],
  ['/policies', 'Policies', 'M5 4h10l4 4v12H5zM8 11h8M8 15h8'],
  ['/activity', 'Activity', 'M3 12h4l3-8 4 16 3-8h4'],
  ['/settings', 'Settings', 'M4 7h10m4 0h2M4 17h2m4 0h10M16 5v4M8 15v4'],
] as const;

function Place({ href, path, children }: { href: string; path: string; children: string }) {
  const [location] = useLocation();
  const isHere =
    href === '/'
      ? location === '/' || /^\/(nodes|saving|begin)/.test(location)
      : location.startsWith(href);
  return (
    <a href={`#${href}`} aria-current={isHere ? 'page' : undefined}>
      <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
        <path d={path} />
      </svg>
      {children}
    </a>
  );
}

const ThemeChoice = () => (
  <select
    aria-label="Colours"
    class="quiet"
    value={theme.value}
    onChange={(event) => (theme.value = event.currentTarget.value as Theme)}
  >
    {themes.map((name) => (
      <option key={name}>{name}</option>
    ))}
  </select>
);

const Frame = ({ children }: { children: ComponentChildren }) => (
  <div class="shell">
    <a
      class="skip"
      href="#main"
      onClick={(event) => {
        event.preventDefault();
        document.getElementById('main')?.focus();
      }}
    >
      To the content
    </a>
    <header>
      <a class="brand" href="#/">
        <img src="./icon.svg" alt="" width="26" height="26" /> Kernreaktor
      </a>
      <span class={`live${isLive.value ? '' : ' off'}`} role="status">
        {isLive.value ? 'live' : 'no connection, trying again'}
      </span>
      <span class="grow" />
      <HoldButton />
      <DrawerButton />
      <ThemeChoice />
      <details class="menu">
        <summary>{me.value?.username ?? 'account'}</summary>
        <div class="card">
          <p class="faint">
            {me.value?.role}
            {me.value?.clusters ? ` of ${me.value.clusters.join(', ')}` : ''}
          </p>
          <a href="./docs">API</a>
          <button type="button" class="quiet" onClick={() => void signOut()}>
            Sign out
          </button>
        </div>
      </details>
    </header>
    <nav aria-label="Pages">
      {places.map(([href, name, path]) => (
        <Place key={href} href={href} path={path}>
          {name}
        </Place>
      ))}
    </nav>
    <main id="main" tabIndex={-1}>
      <HoldBanner />
      {children}
    </main>
    <Drawer />
  </div>
);

const Nowhere = () => (
  <Empty title="There is nothing here">
    <p>
      The address names no page. <a href="#/">Back to the fleet</a>
    </p>
  </Empty>
);

export const Shell = () => (
  <Router hook={useHashLocation}>
    <Frame>
      <Switch>
        <Route path="/" component={FleetPage} />
        <Route path="/begin/:way?">{({ way }) => <BeginPage key={way} way={way} />}</Route>
        <Route path="/nodes/:cluster/:node">
          {({ cluster, node }) => (
            <NodePage key={`${cluster}/${node}`} cluster={cluster} node={node} />
          )}
        </Route>
        <Route path="/saving/:cluster/:node">
          {({ cluster, node }) => (
            <SavingPage key={`${cluster}/${node}`} cluster={cluster} node={node} />
          )}
        </Route>
        <Route path="/guests" component={GuestsPage} />
        <Route path="/guests/new" component={ChooseHostPage} />
        <Route path="/guests/new/:cluster/:node">
          {({ cluster, node }) => (
            <CreatePage key={`${cluster}/${node}`} cluster={cluster} node={node} />
          )}
        </Route>
        <Route path="/guests/:cluster/:guest">
          {({ cluster, guest }) => (
            <GuestPage key={`${cluster}/${guest}`} cluster={cluster} guest={guest} />
          )}
        </Route>
        <Route path="/decisions" component={DecisionsPage} />
        <Route path="/decisions/:id">{({ id }) => <DecisionPage key={id} id={id} />}</Route>
        <Route path="/policies" component={PoliciesPage} />
        <Route path="/policies/new">{() => <PolicyPage key="" name={null} />}</Route>
        <Route path="/policies/new/:base">
          {({ base }) => <PolicyPage key={base} name={null} base={base} />}
        </Route>
        <Route path="/policies/:name">{({ name }) => <PolicyPage key={name} name={name} />}</Route>
        <Route path="/activity" component={ActivityPage} />
        <Route path="/activity/audit" component={AuditPage} />
        <Route path="/activity/:id">{({ id }) => <CommandPage key={id} id={id} />}</Route>
        <Route path="/settings">{() => <SettingsPage />}</Route>
        <Route path="/settings/:subject">
          {({ subject }) => <SettingsPage subject={subject} />}
        </Route>
        <Route component={Nowhere} />
      </Switch>
    </Frame>
  </Router>
);
