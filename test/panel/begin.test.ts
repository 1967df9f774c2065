/**
 * The first hour as a person has it: an account by the address that the start line prints, a Proxmox
 * cluster by its API, a line for a host, the demo. One server, one browser, real clicks.
 */
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noChromium, startChromium } from '../support/chromium.ts';
import { type Stack, startStack } from '../support/stack.ts';
import type { FakeApi } from '../../simulator/proxmox/api/server.ts';
import { apiOf, apiSecret, proxmoxRig, type Rig } from '../simulator/proxmox/rig.ts';
import { violations } from './axe.ts';

const password = 'a long sentence nobody guesses';
const patienceMs = 45_000;

describe.skipIf(noChromium !== '')(`the first hour${noChromium}`, () => {
  let stack: Stack;
  let rig: Rig;
  let api: FakeApi;
  let addresses: string;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;

  beforeAll(async () => {
    rig = await proxmoxRig();
    const served = await apiOf(rig);
    api = served.api;
    addresses = served.endpoint.urls.join(', ');
    stack = await startStack({}, { hasFixedPorts: true });
    browser = await startChromium();
    context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
    context.setDefaultTimeout(patienceMs);
    page = await context.newPage();
  }, 240_000);
  afterAll(async () => {
    await browser?.close();
    await stack?.remove();
    await api?.close();
    await rig?.close();
  });

  it('begins at the address of the start line, which brings the token along', async () => {
    const { httpUrl, setupToken } = stack.runtime();
    await page.goto(`${httpUrl}/#setup=${setupToken ?? ''}`);
    await page.getByLabel('User name').fill('anna');
    await page.getByLabel(/Password/).fill(password);
    expect(page.url()).not.toContain(setupToken);
    await page.getByRole('button', { name: 'Create account' }).click();
    await page.getByRole('heading', { name: 'What shall be watched?' }).waitFor();
    expect(await page.locator('.way h2').allTextContents()).toEqual([
      'A Proxmox cluster by API token',
      'A node',
      'Look around in the demo',
    ]);
    expect(await violations(page)).toEqual([]);
  });

  it('says what is wrong with a token, with the lines that mend it, and keeps what was typed', async () => {
    await page.locator('.way').first().click();
    await page.getByLabel('Address of a member').fill(addresses);
    await page.getByLabel('Token ID').fill('kr@pve!kernreaktor');
    await page.getByLabel('Secret').fill('99999999-1111-2222-3333-444444444444');
    await page.getByRole('button', { name: 'Look' }).click();
    await page.getByRole('button', { name: 'They are the same' }).click();
    await page.locator('.checks pre', { hasText: 'pveum user token' }).first().waitFor();
    expect(await violations(page)).toEqual([]);
    await page.reload();
    expect(await page.getByLabel('Token ID').inputValue()).toBe('kr@pve!kernreaktor');
    expect(await page.getByLabel('Secret').inputValue()).toBe('');
  });

  it('shows all nodes and guests of a Proxmox cluster after six inputs', async () => {
    await page.evaluate(() => sessionStorage.removeItem('kernreaktor-begin-proxmox'));
    await page.reload();
    let inputs = 0;
    const type = async (label: string, text: string): Promise<void> => {
      inputs += 1;
      await page.getByLabel(label).fill(text);
    };
    const press = async (name: string): Promise<void> => {
      inputs += 1;
      await page.getByRole('button', { name }).click();
    };
    await type('Address of a member', addresses);
    await type('Token ID', 'kr@pve!kernreaktor');
    await type('Secret', apiSecret);
    await press('Look');
    // Nobody vouches for its certificates; until they are compared it has seen no token.
    await page.getByText(/Your token was not sent yet/).waitFor();
    expect(await violations(page)).toEqual([]);
    await press('They are the same');
    await page.getByText('3 nodes and 3 guests').waitFor();
    await press('Watch this cluster');
    expect(inputs).toBeLessThanOrEqual(6);
    for (const node of ['alpha', 'beta', 'gamma']) {
      await page.locator('.card.node[data-state=awake]', { hasText: node }).waitFor();
    }
    await page.goto(`${stack.runtime().httpUrl}/#/guests`);
    for (const guest of ['100', '101', '102']) {
      await page.getByRole('link', { name: `guest-${guest}` }).waitFor();
    }
  }, 90_000);

  it('makes a line for a host, and says what keeps other hosts away', async () => {
    await page.goto(`${stack.runtime().httpUrl}/#/begin/host`);
    await page.getByText('KR_TLS_HOST=0.0.0.0').waitFor();
    await page.getByLabel('Host name').fill('pve9');
    await page.getByLabel('Cluster').fill('garage');
    await page.getByRole('button', { name: 'Make its line' }).click();
    const shown = await page.locator('.once pre').textContent();
    expect(shown).toMatch(/KR_CLUSTER=garage\nKR_ENROL_TOKEN=\S{40,}/);
    await page.getByText('Waiting for pve9').waitFor();
    expect(await violations(page)).toEqual([]);
  });

  it('watches the cluster again after a start, with nothing typed anew', async () => {
    await stack.stop();
    await stack.start();
    const { httpUrl } = stack.runtime();
    await page.goto(`${httpUrl}/#/nodes/${rig.live.world.clusters.keys().next().value}/alpha`);
    await page.locator('.state[data-state=awake]').first().waitFor();
    const { items } = await stack.api.get<{ items: { id: string }[] }>('nodes?cluster=lab');
    expect(items.map(({ id }) => id)).toEqual(['alpha', 'beta', 'gamma']);
  }, 120_000);

  it('begins the demo beside it', async () => {
    await page.goto(`${stack.runtime().httpUrl}/#/begin/demo`);
    await page.getByRole('button', { name: 'Start the demo' }).click();
    await page.getByRole('heading', { name: 'home', exact: true }).waitFor();
    await page.locator('.card.node', { hasText: 'nuc1' }).waitFor();
    expect(await stack.api.get('joining')).toMatchObject({ demo: 'running' });
  }, 90_000);
});
