/**
 * Pictures of every page into docs/screenshots: light, dark and on a phone, and one sheet of every
 * page in each of its states. `npm run screenshots`, with Debian's chromium, on a demo of its own;
 * with names behind it those pages alone, and no sheet. Ends with an error where a page shows
 * neither content nor what is wrong.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { buildPanel } from '../../backend/panel/build.ts';
import { until } from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { type Place, places } from './places.ts';
import { enter, type State, states } from './states.ts';

const program = '/usr/bin/chromium';
const folder = join(import.meta.dirname, '../../docs/screenshots');
const account = { username: 'anna', password: 'a long sentence nobody guesses' };
const patienceMs = 60_000;
const desk = { width: 1_280, height: 800 };
const phone = { width: 390, height: 844 };
const looks = {
  light: { viewport: desk, colorScheme: 'light' },
  dark: { viewport: desk, colorScheme: 'dark' },
  phone: { viewport: phone, colorScheme: 'light', isMobile: true },
} as const;

async function signedIn(stack: Stack): Promise<string> {
  const token = stack.runtime().setupToken;
  if (token !== undefined) await stack.api.post('setup', { token, ...account });
  const { body } = await stack.api.post<{ token: string }>('session', account);
  return body.token;
}

async function open(browser: Browser, token: string, options: object): Promise<BrowserContext> {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(patienceMs);
  await context.addInitScript((kept) => sessionStorage.setItem('kernreaktor-session', kept), token);
  return context;
}

const withCharts = /#\/(nodes|guests|decisions)\/(?!new)/;

/** Content, or what is wrong, and no spinner left. */
async function settle(page: Page): Promise<void> {
  await page.locator('main h1, main h2, main [role=alert]').first().waitFor();
  await until(async () => (await page.locator('.spinner').count()) === 0, {
    withinMs: patienceMs,
    what: `the content of ${page.url()}`,
  });
  if (page.url().endsWith('#/')) await page.locator('.card.node .spark path').first().waitFor();
  // The demo is minutes old, and so are its curves.
  const quarter = page.getByRole('button', { name: '15 min' });
  if (await quarter.isVisible()) await quarter.click();
  if (withCharts.test(page.url())) await page.locator('.chart canvas').first().waitFor();
  // Charts are drawn in the frames after their data came.
  await page.waitForTimeout(700);
}

async function pictures(browser: Browser, stack: Stack, of: readonly Place[], token: string) {
  for (const [look, options] of Object.entries(looks)) {
    const context = await open(browser, token, options);
    const page = await context.newPage();
    for (const { name, hash } of of) {
      await page.goto(`${stack.runtime().httpUrl}/${hash}`);
      await settle(page);
      const path = join(folder, `${name}-${look}.jpg`);
      await page.screenshot({ path, type: 'jpeg', quality: 72 });
    }
    await context.close();
  }
}

/** A page that is shut off must say so in words. */
async function sayOf(page: Page, state: State): Promise<void> {
  const words = {
    empty: page.locator('main h1, main h2').first(),
    loading: page.locator('main [role=status], main .state-note').first(),
    error: page.locator('main [role=alert]').first(),
    offline: page.locator('main [role=alert]').first(),
  };
  try {
    await words[state].waitFor();
  } catch (error) {
    throw new Error(`${page.url()} does not say that it is ${state}`, { cause: error });
  }
}

async function thumbnails(browser: Browser, stack: Stack, of: readonly Place[], token: string) {
  const rows = new Map<string, string[]>(of.map(({ name }) => [name, []]));
  for (const state of states) {
    const context = await open(browser, token, { viewport: { width: 960, height: 600 } });
    await enter(context, state);
    const page = await context.newPage();
    for (const { name, hash } of of) {
      await page.goto(`${stack.runtime().httpUrl}/${hash}`);
      await sayOf(page, state);
      await page.waitForTimeout(500);
      const image = await page.screenshot({ type: 'jpeg', quality: 75 });
      rows.get(name)?.push(image.toString('base64'));
    }
    // What is still being answered has nobody left to tell.
    await context.unrouteAll({ behavior: 'ignoreErrors' });
    await context.close();
  }
  return rows;
}

const sheetStyle = `body{margin:24px;font:15px system-ui;background:#fff;color:#1a1f23}
table{border-spacing:12px}th{text-align:left;font-weight:600}
img{display:block;width:400px;border:1px solid #dde2e4;border-radius:6px}`;

async function sheet(browser: Browser, rows: ReadonlyMap<string, string[]>): Promise<void> {
  const body = [...rows].map(
    ([name, images]) =>
      `<tr><th>${name}</th>${images
        .map((image) => `<td><img src="data:image/jpeg;base64,${image}"></td>`)
        .join('')}</tr>`,
  );
  const head = states.map((state) => `<th>${state}</th>`).join('');
  const page = await browser.newPage({ viewport: { width: 1_880, height: 900 } });
  await page.setContent(
    `<style>${sheetStyle}</style><table><tr><th></th>${head}</tr>${body.join('')}</table>`,
  );
  const path = join(folder, 'states.jpg');
  await page.screenshot({ path, type: 'jpeg', quality: 60, fullPage: true });
  await page.close();
}

type Listed = { items: { id: string; at?: string }[] };

/** So long after it a decision's chart shows what came of it. */
const afterwardsMs = 60_000;

/** The demo's first decision that acted, and its command once that has ended. */
async function examples(stack: Stack): Promise<{ decision: string; command: string }> {
  const found = { decision: '', command: '' };
  await until(
    async () => {
      const acted = await stack.api.get<Listed>('decisions?outcome=acted&limit=20');
      const done = await stack.api.get<Listed>('commands?state=SUCCEEDED&limit=1');
      const isOld = ({ at = '' }: { at?: string }) => Date.now() - Date.parse(at) > afterwardsMs;
      found.decision = acted.items.find(isOld)?.id ?? '';
      found.command = done.items[0]?.id ?? '';
      return found.decision !== '' && found.command !== '';
    },
    { withinMs: 240_000, what: 'a decision of the demo' },
  );
  return found;
}

const only = process.argv.slice(2);
await buildPanel();
const stack = await startStack({}, { role: 'demo', hasFixedPorts: true });
const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] });
try {
  await mkdir(folder, { recursive: true });
  const token = await signedIn(stack);
  await stack.api.post('backups', {});
  const all = places(await examples(stack)).filter(
    ({ name }) => only.length === 0 || only.includes(name),
  );
  await pictures(browser, stack, all, token);
  if (only.length === 0) await sheet(browser, await thumbnails(browser, stack, all, token));
} finally {
  await browser.close();
  await stack.remove();
}
