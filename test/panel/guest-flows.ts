/**
 * Guests as a person makes and moves them, in the browser of the file that calls it: limits, a new
 * guest against them, where one may move. Leaves no limit behind.
 */
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { Stack } from '../support/stack.ts';
import { until } from '../support/servers.ts';
import { violations } from './axe.ts';

type Use = { page: Page; url: string; stack: Stack };
type Quotas = {
  quotas: { clusters: Record<string, object> };
  taken: { clusters: Record<string, { cpuCount: number }> };
};

async function idOf(stack: Stack, name: string): Promise<string> {
  const { items } = await stack.api.get<{ items: { id: string; name: string }[] }>(
    'guests?cluster=home&limit=100',
  );
  return items.find((guest) => guest.name === name)?.id ?? '';
}

/** Nothing of the demo makes guests: its host is shown as one that does. The server knows better. */
async function pretendMaker(page: Page): Promise<void> {
  await page.route('**/api/v1/clusters/home/nodes/nuc1', async (route) => {
    const response = await route.fetch();
    const json = (await response.json()) as { capabilities: string[] };
    json.capabilities.push('guest.create');
    await route.fulfill({ response, json });
  });
}

function quotaFlows(use: () => Use): void {
  it('sets a limit of a cluster and shows what is taken of it', async () => {
    const { page, url, stack } = use();
    const { taken } = await stack.api.get<Quotas>('quotas');
    const cpus = taken.clusters['home']?.cpuCount ?? 0;
    expect(cpus).toBeGreaterThan(0);
    await page.goto(`${url}/#/settings/quotas`);
    await page.getByRole('heading', { name: 'What you may make' }).waitFor();
    await page.getByRole('button', { name: 'Change the limit of home' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(/^Virtual cpus/).fill(String(cpus + 1));
    expect(await violations(page)).toEqual([]);
    await dialog.getByRole('button', { name: 'Keep' }).click();
    await page.getByText(`${cpus} of ${cpus + 1}`).waitFor();
    const { quotas } = await stack.api.get<Quotas>('quotas');
    expect(quotas.clusters).toEqual({ home: { cpuCount: cpus + 1, memoryBytes: null } });
  });

  it('says the sum before a new guest is sent, sends what fits, and follows it to its end', async () => {
    const { page, url, stack } = use();
    await pretendMaker(page);
    await page.goto(`${url}/#/nodes/home/nuc1`);
    await page.getByRole('link', { name: 'New guest here' }).click();
    await page.getByLabel(/^Image/).fill('debian/12');
    await page.getByLabel(/^Name/).fill('web');
    await page.getByLabel('Virtual cpus').fill('2');
    await page
      .getByText(/Quota of cluster home: .* this asks for 2 vCPU: 1 vCPU too much/)
      .waitFor();
    const send = page.getByRole('button', { name: 'Make it on nuc1' });
    expect(await send.isDisabled()).toBe(true);
    expect(await violations(page)).toEqual([]);
    await page.getByLabel('Virtual cpus').fill('1');
    // Its limit is met; now it is the guards that know the driver.
    await page.locator('[role=alert]', { hasText: 'guest.create' }).waitFor();
    expect(await send.isDisabled()).toBe(true);
    // Between the question and the command the world may change: here the question was wrong.
    await page.route('**/api/v1/commands/dry-run', (route) =>
      route.fulfill({ json: { isAllowed: true, denial: null, checks: [] } }),
    );
    await page.getByLabel('Memory, GiB').fill('0.5');
    await send.click();
    await page.locator('.command-state', { hasText: 'rejected' }).waitFor();
    const { items } = await stack.api.get<{ items: object[] }>('commands?kind=guest.create');
    expect(items).toMatchObject([{ target: { id: 'web' }, state: 'REJECTED' }]);
    await page.unrouteAll({ behavior: 'wait' });
  });

  it('takes a limit away again', async () => {
    const { page, url, stack } = use();
    await page.goto(`${url}/#/settings/quotas`);
    await page.getByRole('button', { name: 'Change the limit of home' }).click();
    await page
      .getByRole('dialog')
      .getByLabel(/Take it away/)
      .check();
    await page.getByRole('dialog').getByRole('button', { name: 'Keep' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    expect((await stack.api.get<Quotas>('quotas')).quotas.clusters).toEqual({});
  });
}

function moveFlows(use: () => Use): void {
  it('says of each node whether a guest may move there, why not, and what it would do', async () => {
    const { page, url, stack } = use();
    await page.goto(`${url}/#/guests/home/${await idOf(stack, 'k3s')}`);
    await page.getByRole('button', { name: 'Migrate' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText(/moves away from .* while it runs/).waitFor();
    const targets = dialog.locator('li', { has: page.locator('input[name=targetNode]') });
    await targets.first().waitFor();
    const asking = dialog.getByText('Asking the guards');
    await until(async () => (await asking.count()) === 0, {
      withinMs: 45_000,
      what: 'what the guards say of every target',
    });
    // Each may be chosen, or says why not.
    for (const target of await targets.all()) {
      const because = await target.locator('.against').allTextContents();
      const isRefused = await target.locator('input').isDisabled();
      expect(because.filter((text) => text.length > 20)).toHaveLength(isRefused ? 1 : 0);
    }
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press('Escape');
  });

  it('moves a guest to the node that was chosen', async () => {
    const { page, url, stack } = use();
    const id = await idOf(stack, 'mosquitto');
    await page.goto(`${url}/#/guests/home/${id}`);
    await page.getByRole('button', { name: 'Migrate' }).click();
    const target = page.locator('.target:has(input:enabled)').first();
    await target.getByText(/cpu .* → .*, memory .* → /).waitFor();
    const to = (await target.locator('strong').textContent()) ?? '';
    await target.click();
    await page.getByRole('dialog').getByRole('button', { name: 'Migrate' }).click();
    await page.getByRole('link', { name: 'Follow it' }).click();
    await page.locator('.command-state', { hasText: 'succeeded' }).waitFor();
    const { items } = await stack.api.get<{ items: object[] }>(`commands?target=${id}`);
    expect(items[0]).toMatchObject({ kind: 'guest.migrate', state: 'SUCCEEDED' });
    const [{ id: command }] = items as [{ id: string }];
    const { args } = await stack.api.get<{ args: object }>(`commands/${command}`);
    expect(args).toMatchObject({ targetNode: to });
  });
}

export function guestFlows(use: () => Use): void {
  quotaFlows(use);
  moveFlows(use);
}
