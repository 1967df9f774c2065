/**
 * The panel as a person uses it: a real browser in front of the real server and its demo. Every
 * page is looked at by axe, too, which knows what people with other eyes and hands need.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaintsOf, noChromium, startChromium } from '../support/chromium.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { violations } from './axe.ts';
import { engineFlows } from './engine-flows.ts';
import { guestFlows } from './guest-flows.ts';
import { nodeFlows } from './node-flows.ts';
import { places } from './places.ts';

const password = 'a long sentence nobody guesses';
/** Everything shares two cores with the demo. */
const patienceMs = 45_000;

describe.skipIf(noChromium !== '')(`the panel${noChromium}`, () => {
  let stack: Stack;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];
  let url = '';

  const open = async (hash: string): Promise<void> => {
    await page.goto(`${url}/${hash}`);
  };
  const sees = (text: string | RegExp): Promise<void> =>
    page.getByText(text).first().waitFor({ timeout: patienceMs });

  beforeAll(async () => {
    stack = await startStack({}, { role: 'demo', hasFixedPorts: true });
    url = stack.runtime().httpUrl;
    browser = await startChromium();
    context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
    context.setDefaultTimeout(patienceMs);
    page = await context.newPage();
    complaints = complaintsOf(page);
  }, 240_000);
  afterAll(async () => {
    await browser?.close();
    await stack?.remove();
  });

  it('makes the first account with the set-up token, and says what is wrong with a bad one', async () => {
    await page.goto(url);
    await page.getByLabel('Set-up token').fill('wrong');
    await page.getByLabel('User name').fill('anna');
    await page.getByLabel(/Password/).fill(password);
    expect(await violations(page)).toEqual([]);
    await page.getByRole('button', { name: 'Create account' }).click();
    await sees('This is not the set-up token.');
    expect(await page.getByLabel('Set-up token').inputValue()).toBe('wrong');
    await page.getByLabel('Set-up token').fill(stack.runtime().setupToken ?? '');
    await page.getByRole('button', { name: 'Create account' }).click();
    await page.getByRole('heading', { name: 'Fleet' }).waitFor();
  });

  it('shows every node of the demo live, and finds one by its name', async () => {
    const cards = page.locator('.card.node');
    await page.getByRole('heading', { name: '11 nodes' }).waitFor();
    expect(await cards.count()).toBe(11);
    await page.locator('.live', { hasText: /^live$/ }).waitFor();
    await page.getByLabel('Search nodes').fill('nuc1');
    await page.getByRole('heading', { name: '1 node', exact: true }).waitFor();
    expect(await cards.count()).toBe(1);
    // Its sparkline grows by itself: a sample came over the stream.
    await page.locator('.card.node .spark path[d*=L]').waitFor({ state: 'attached' });
    await page.getByLabel('Search nodes').fill('');
    await page.getByLabel('Group').selectOption('by cluster');
    const first = page.getByRole('region', { name: 'home' });
    await first.getByRole('heading', { name: /^home \d+$/ }).waitFor();
    expect(await first.locator('.card.node').count()).toBeLessThan(11);
    await page.getByRole('button', { name: 'Show map' }).click();
    await page.locator('canvas').first().focus();
    await page.keyboard.press('ArrowRight');
    await page.locator('.legend strong').waitFor();
    await page.getByRole('button', { name: 'Show cards' }).click();
  });

  it('opens a node from its card, with what was measured and how it would be woken', async () => {
    await page.locator('.card.node', { hasText: 'nuc1' }).click();
    await page.getByRole('heading', { name: 'home / nuc1' }).waitFor();
    await page.locator('.chart canvas').first().waitFor();
    await sees(/Not proven yet/);
    await page.getByRole('button', { name: '15 min' }).click();
    await page.locator('.chart canvas').first().waitFor();
    expect(await page.locator('.chart figcaption').allTextContents()).toContain('Memory');
  });

  it('restarts a guest after saying what it will do, and follows the command to its end', async () => {
    await open('#/guests');
    await page.getByLabel('Search guests').fill('grafana');
    await page.getByRole('link', { name: 'grafana' }).click();
    await page.getByRole('button', { name: 'Restart' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText(/shuts down and starts again/).waitFor();
    await dialog.getByRole('button', { name: 'Restart' }).click();
    await page.getByRole('link', { name: 'Follow it' }).click();
    await page.locator('.command-state', { hasText: 'succeeded' }).waitFor();
    const steps = await page.locator('.steps strong').allTextContents();
    expect(steps.slice(0, 2)).toEqual(['planned', 'queued']);
    expect(steps.at(-1)).toBe('succeeded');
  });

  it('pauses automation of a guest and keeps a node awake, says until when, and ends both', async () => {
    await open('#/guests/home/110');
    await page.getByRole('button', { name: 'Pause automation' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
    await sees(/Automation paused until .*, because you asked for it\./);
    const standing = () =>
      stack.api.get<{ paused: object | null }>('clusters/home/guests/110/automation');
    expect((await standing()).paused).toMatchObject({ by: 'account:anna' });
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByRole('button', { name: 'Pause automation' }).waitFor();
    expect((await standing()).paused).toBe(null);
    await open('#/nodes/home/nuc1');
    await page.getByRole('button', { name: 'Keep awake' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Keep awake' }).click();
    await sees(/Stays awake until/);
    expect(await violations(page)).toEqual([]);
    await page.getByRole('button', { name: 'It may sleep again' }).click();
    await page.getByRole('button', { name: 'Keep awake' }).waitFor();
  });

  it('shows a refusal in the dialog with its way out, and sends nothing', async () => {
    const before = await stack.api.get<{ total: number }>('commands?kind=guest.scale');
    await open('#/guests/home/110');
    await page.getByRole('button', { name: 'Scale' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Scale' }).click();
    await dialog.getByText(/name at least one of cpuCount/i).waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    const after = await stack.api.get<{ total: number }>('commands?kind=guest.scale');
    expect(after.total).toBe(before.total);
  });

  it('puts everything on HOLD from any page, and releases it with the password', async () => {
    await page.getByRole('banner').getByRole('button', { name: 'HOLD' }).click();
    await page.getByLabel(/Reason/).fill('new cables');
    await page.getByRole('dialog').getByRole('button', { name: 'HOLD' }).click();
    await sees('Nothing is begun anywhere.');
    expect(await stack.api.get('hold')).toMatchObject({ all: true });
    await page.getByRole('banner').getByRole('button', { name: 'Release' }).click();
    await page.getByLabel('Your password').fill(password);
    await page.getByRole('dialog').getByRole('button', { name: 'Release' }).click();
    await page.getByText('Nothing is begun anywhere.').waitFor({ state: 'hidden' });
    expect(await stack.api.get('hold')).toMatchObject({ all: false });
  });

  it('explains a decision with its numbers', async () => {
    await open('#/decisions');
    await page.locator('.timeline a').first().click();
    await page.getByRole('heading', { name: 'Decision' }).waitFor();
    expect((await page.locator('.lead').textContent())?.length).toBeGreaterThan(10);
  });

  it('lets a node in with a token that is shown once', async () => {
    await open('#/settings');
    await page.getByRole('button', { name: 'Let a node in' }).click();
    await page.getByLabel('Cluster', { exact: false }).last().fill('garage');
    await page.getByRole('dialog').getByLabel(/^Node/).fill('pve9');
    await page.getByRole('button', { name: 'Make a token' }).click();
    const shown = page.locator('.once pre');
    await shown.waitFor();
    expect(await shown.textContent()).toMatch(/KR_CLUSTER=garage\nKR_ENROL_TOKEN=\S{40,}/);
  });

  guestFlows(() => ({ page, url, stack }));
  nodeFlows(() => ({ page, url, stack }));
  engineFlows(() => ({ page, url, stack }), password);

  it('passes axe on every page, in dark and on a phone', async () => {
    const newest = async (list: string): Promise<string> =>
      (await stack.api.get<{ items: { id: string }[] }>(`${list}?limit=1`)).items[0]?.id ?? '';
    const ids = { decision: await newest('decisions'), command: await newest('commands') };
    const hashes = [...places(ids).map(({ hash }) => hash), '#/policies/new', '#/nowhere'];
    const found: Record<string, string[]> = {};
    for (const [name, options] of [
      ['dark', { colorScheme: 'dark' as const }],
      // In light colours, as every page without a wish.
      ['phone', { viewport: { width: 390, height: 844 } }],
    ] as const) {
      const other = await browser.newContext({
        ...options,
        storageState: await context.storageState(),
      });
      other.setDefaultTimeout(patienceMs);
      const session = await page.evaluate(() => sessionStorage.getItem('kernreaktor-session'));
      await other.addInitScript((token) => {
        if (token !== null) sessionStorage.setItem('kernreaktor-session', token);
      }, session);
      const looked = await other.newPage();
      for (const place of hashes) {
        await looked.goto(`${url}/${place}`);
        await looked.locator('main h1, main h2').first().waitFor();
        await looked.locator('main .spinner').first().waitFor({ state: 'detached' });
        const wrong = await violations(looked);
        if (wrong.length > 0) found[`${name} ${place}`] = wrong;
      }
      await looked.goto(`${url}/#/`);
      await looked.getByLabel('Group').selectOption('by state');
      await looked.getByRole('region', { name: 'awake' }).waitFor();
      const grouped = await violations(looked);
      await looked.getByRole('button', { name: 'Show map' }).click();
      await looked.locator('canvas').first().waitFor();
      const wrong = [...grouped, ...(await violations(looked))];
      if (wrong.length > 0) found[`${name}, grouped`] = wrong;
      await other.close();
    }
    expect(found).toEqual({});
  }, 240_000);

  it('says that the connection is gone, keeps what it knew, and is live again by itself', async () => {
    await open('#/');
    await page.locator('.live', { hasText: /^live$/ }).waitFor();
    await stack.kill9();
    await sees('no connection, trying again');
    expect(await page.locator('.card.node').count()).toBeGreaterThan(0);
    await stack.start();
    await page.locator('.live', { hasText: /^live$/ }).waitFor();
  }, 120_000);

  it('is at most 150 kB of JavaScript, compressed', () => {
    const folder = join(import.meta.dirname, '../../backend/panel/dist/assets');
    const scripts = readdirSync(folder).filter((name) => name.endsWith('.js'));
    expect(scripts.length).toBeGreaterThan(0);
    const sizes = scripts.map((name) => gzipSync(readFileSync(join(folder, name))).length);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(150_000);
  });

  it('complains of nothing on its way', () => {
    const own = complaints.filter((text) => !/WebSocket connection/.test(text));
    expect(own).toEqual([]);
  });
});
