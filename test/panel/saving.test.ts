/**
 * Power saving as a person begins it: a fake house of three nodes, one browser run from what stands
 * against it to the first saving. The proof is the real one, three cycles of off, wake, rejoined;
 * only the house's time is faster. Clicks are counted, what is typed and waited for is not.
 */
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noChromium, startChromium } from '../support/chromium.ts';
import { until } from '../support/servers.ts';
import { simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';
import { violations } from './axe.ts';

const password = 'a long sentence nobody guesses';
const patienceMs = 90_000;
const [cluster, node] = ['sim-001', 'n0003'];
const clicksMax = 10;
/** A real house of three: proofs, a voter to spare, and seven days of watching the engine. */
const asReal = {
  settings: { wakeProof: 'required' },
  limits: { spareVoters: 1, shadowMs: 7 * 86_400_000 },
};

describe.skipIf(noChromium !== '')(`power saving${noChromium}`, () => {
  let stack: Stack;
  let house: Simulation;
  let browser: Browser;
  let page: Page;
  let clicks = 0;
  const click = async (place: Locator): Promise<void> => {
    clicks += 1;
    await place.click();
  };
  const step = (number: number): Locator => page.locator('.guide > .step').nth(number - 1);
  const answer = async (button: string, typed: string): Promise<void> => {
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(`Type ${typed}`).fill(typed);
    await click(dialog.getByRole('button', { name: button }));
    await dialog.waitFor({ state: 'hidden' });
  };

  beforeAll(async () => {
    stack = await startStack({}, { hasFixedPorts: true });
    const fleet = ['--nodes', '3', '--guests', '2', '--interval', '1', '--seed', '5'];
    house = simulate(stack, [...fleet, '--time-scale', '60', '--minutes', '15']);
    const { setupToken, httpUrl } = stack.runtime();
    await stack.api.post('setup', { token: setupToken, username: 'anna', password });
    const { body } = await stack.api.post<{ token: string }>('session', {
      username: 'anna',
      password,
    });
    browser = await startChromium();
    const context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
    context.setDefaultTimeout(patienceMs);
    await context.addInitScript(
      (kept) => sessionStorage.setItem('kernreaktor-session', kept),
      body.token,
    );
    page = await context.newPage();
    await until(
      async () => {
        type Listed = { items: { cluster: string; state: string }[] };
        const [nodes, guests] = await Promise.all(
          ['nodes', 'guests'].map((list) => stack.api.get<Listed>(`${list}?limit=100`)),
        );
        const own = (list: Listed | undefined) =>
          list?.items.filter((one) => one.cluster === cluster) ?? [];
        const awake = own(nodes).filter(({ state }) => state === 'awake');
        return awake.length === 3 && own(guests).length === 6;
      },
      { withinMs: patienceMs, what: 'a house of three nodes' },
    );
    await stack.api.send('PATCH', `/api/v1/clusters/${cluster}`, { body: asReal });
    await page.goto(`${httpUrl}/#/nodes/${cluster}/${node}`);
  }, 240_000);
  afterAll(async () => {
    house?.run.signal('SIGKILL');
    await house?.run.exited;
    await browser?.close();
    await stack?.remove();
  });

  it('says what stands against it, and who leaves, stays or is parked', async () => {
    await click(page.getByRole('link', { name: 'Power saving, step by step' }));
    await page.getByText('3 votes in all, 2 are needed, 2 are left without it').waitFor();
    await page.getByText(/moves to another node, and comes back after the proof/).waitFor();
    expect(await step(2).getByRole('button', { name: 'Prove it' }).isDisabled()).toBe(true);
    expect(await violations(page)).toEqual([]);
    await click(page.getByRole('button', { name: 'Do without …' }));
    await answer('I answer for it', cluster);
    await click(page.getByRole('button', { name: 'Empty it' }));
    await page.getByText('It is empty for its proof.').waitFor();
    await step(2).locator('button:enabled', { hasText: 'Prove it' }).waitFor();
  }, 200_000);

  it('ends a proof when somebody wishes, wakes the node all the same, and lets it begin anew', async () => {
    const begin = step(2).locator('button:enabled', { hasText: 'Prove it' });
    await begin.click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(`Type ${node}`).fill(cluster);
    await dialog.getByRole('button', { name: 'Begin' }).click();
    // Another word is not sent.
    await dialog.locator('input[name=confirm]:invalid').waitFor();
    await dialog.getByLabel(`Type ${node}`).fill(node);
    await dialog.getByRole('button', { name: 'Begin' }).click();
    await step(2).getByText('switching it off').waitFor();
    await step(2).getByRole('button', { name: 'End it' }).click();
    await page.getByText(`${node} is not switched off again, and woken if it sleeps.`).waitFor();
    await step(2).getByText('The last try was cancelled').waitFor();
    const standing = `clusters/${cluster}/nodes/${node}`;
    expect(await stack.api.get(`${standing}/wake-proofs`)).toMatchObject({
      isProven: false,
      campaign: { state: 'cancelled' },
    });
    expect(await stack.api.get(standing)).toMatchObject({ state: 'awake' });
    // Its guests would come back now; the next proof wants it empty.
    await stack.api.send('PUT', `/api/v1/clusters/${cluster}/nodes/${node}/maintenance`, {
      body: { maintenance: true, evacuate: true, forProof: true },
    });
    await page.getByText('It is empty for its proof.').waitFor();
    await begin.waitFor();
  }, 120_000);

  it('proves three wakes, with the seconds and the watts of each', async () => {
    // The cycle of the proof that was ended counts, too, where it had been switched off by then.
    const { proofs } = await stack.api.get<{ proofs: { succeeded: number }[] }>(
      `clusters/${cluster}/nodes/${node}/wake-proofs`,
    );
    const times = 3 + (proofs[0]?.succeeded ?? 0);
    await click(step(2).getByRole('button', { name: 'Prove it' }));
    await answer('Begin', node);
    await page.getByText(/of 3 shown/).waitFor();
    expect(await violations(page)).toEqual([]);
    await page.getByText(`It came back ${times} times`).waitFor({ timeout: 180_000 });
    const rows = step(2).locator('tbody tr');
    await rows.nth(2).waitFor();
    for (const row of await rows.allTextContents()) expect(row).toMatch(/yes.*\d s.*\d+ W$/);
    const guests = await stack.api.get<{ items: { state: string }[] }>(
      `guests?cluster=${cluster}&node=${node}`,
    );
    expect(guests.items.length).toBeGreaterThan(0);
  }, 240_000);

  it('says when it is automatic and why, lets a person answer for it, and shows the first saving', async () => {
    await click(page.getByRole('button', { name: 'Let it sleep by itself' }));
    const dialog = page.getByRole('dialog');
    await dialog.getByText('nothing sleeps: from now on it follows').waitFor();
    await click(dialog.getByRole('button', { name: 'Let it' }));
    await page.getByText(/Automatic in \d+ h/).waitFor();
    // Its proof has used up the moves of a guest for one day, and the house has no day to wait.
    const yaml = 'extends: save-power\nlimits: {guestMovesPerDay: 12, pairCooldownMs: 60000}\n';
    await stack.api.post('policies', { name: 'house', yaml });
    await stack.api.send('PUT', `/api/v1/clusters/${cluster}/policy`, {
      body: { policy: 'house' },
    });
    await page.getByText(/because the engine is watched for seven days/).waitFor();
    await click(page.getByRole('button', { name: 'Do not wait …' }));
    await answer('I answer for it', cluster);
    await page.getByText('It sleeps by itself when nobody needs it').waitFor();
    await page.locator('.saved-sum', { hasText: /Wh saved/ }).waitFor({ timeout: 240_000 });
    expect(await page.locator('.saved').textContent()).toMatch(/Slept.*and still sleeps/);
    expect(await violations(page)).toEqual([]);
    expect(clicks).toBeLessThanOrEqual(clicksMax);
  }, 300_000);
});
