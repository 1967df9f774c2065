/** Starts the panel: nobody signed in sees the welcome, everybody else the shell. */
import { effect } from '@preact/signals';
import { render } from 'preact';
import { token } from './api.ts';
import { watchFleet } from './live.ts';
import { fillPast } from './past.ts';
import { Welcome } from './pages/welcome.tsx';
import { Dialogs } from './parts/dialog.tsx';
import { Toasts } from './parts/feedback.tsx';
import { Shell } from './shell.tsx';
import './style/base.css';
import './style/parts.css';
import './style/pages.css';
import './style/begin.css';
import './style/engine.css';

effect(() => (token.value === null ? undefined : watchFleet(fillPast)));

const App = () => (
  <>
    {token.value === null ? <Welcome /> : <Shell />}
    <Dialogs />
    <Toasts />
  </>
);

const place = document.getElementById('app');
if (place) render(<App />, place);
