/**
 * What a person does with the engine and with an account, in the browser of the file that calls
 * it: policies, decisions, the second factor, notices, backups, the audit log. Leaves no trace that
 * the other tests of that file could stumble over.
 */
import { readFile } from 'node:fs/promises';
import { Secret, TOTP } from 'otpauth';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { Stack } from '../support/stack.ts';
import { until } from '../support/servers.ts';

type Use = { page: Page; url: string; stack: Stack };

const draft = `extends: save-power
relieve:
  cpuRatio: {above: 0.9, clear: 0.75, forMs: 300000}
`;

const eager = `extends: balance
relieve: {cpuRatio: {above: 0.03, clear: 0.02, forMs: 1000}, fillRatio: 0.9, marginRatio: 0}
limits: {guestCooldownMs: 0}
`;

function policyFlows(use: () => Use): void {
  it('names line and column of a mistake while it is typed, and leads to it', async () => {
    const { page, url } = use();
    await page.goto(`${url}/#/policies`);
    await page.getByRole('link', { name: 'New policy' }).click();
    const text = page.getByLabel('Text of the new policy');
    await text.fill('extends: balance\nlimits:\n  guestMovesPerDay: many\n');
    await page.getByRole('button', { name: /^3:21 limits\.guestMovesPerDay/ }).click();
    expect(
      await text.evaluate((area) => (area as unknown as { selectionStart: number }).selectionStart),
    ).toBe(45);
    expect(await page.getByRole('button', { name: /^Enable for/ }).isDisabled()).toBe(true);
  });

  it('shows what a draft changes, backtests it with charts, and enables it', async () => {
    const { page, url, stack } = use();
    await page.goto(`${url}/#/policies/new`);
    await page.getByLabel('Text of the new policy').fill(draft);
    await page.getByText('no problem').waitFor();
    await page.getByLabel('Cluster', { exact: true }).selectOption('rack');
    await page.getByRole('row', { name: 'relieve.cpuRatio.above 0.85 0.9' }).waitFor();
    await page.getByLabel('Time to replay').selectOption({ label: 'the last hour' });
    await page.getByRole('button', { name: 'Backtest' }).click();
    await page.getByText(/It would have used/).waitFor();
    await page.getByText('Energy, summed up').waitFor();
    await page.getByRole('button', { name: 'Enable for rack' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('It was backtested as it stands.').waitFor();
    await dialog.getByLabel(/^Name/).fill('night-saver');
    await dialog.getByRole('button', { name: 'Enable' }).click();
    await page.getByRole('heading', { name: 'night-saver' }).waitFor();
    await page.getByRole('button', { name: 'rack follows it' }).waitFor();
    const { items } = await stack.api.get<{ items: { id: string; policyHash: string | null }[] }>(
      'clusters',
    );
    expect(items.find(({ id }) => id === 'rack')?.policyHash).toMatch(/^[0-9a-f]{64}$/);
    await stack.api.send('PUT', '/api/v1/clusters/rack/policy', { body: { policy: 'balance' } });
  });
}

function versionFlow(use: () => Use): void {
  it('tells of each version who wrote it and what it changed, and goes back to one', async () => {
    const { page, url, stack } = use();
    for (const moves of [3, 4]) {
      const yaml = `extends: balance\nlimits: {guestMovesPerDay: ${moves}}\n`;
      await stack.api.post('policies', { name: 'house', yaml });
    }
    await page.goto(`${url}/#/policies/house`);
    await page.getByLabel('Cluster', { exact: true }).selectOption('attic');
    const versions = page.getByRole('region', { name: 'Versions' });
    await versions.getByText('Version 2').waitFor();
    await versions.getByRole('button', { name: 'What it changed' }).click();
    const diff = (await versions.locator('.line-diff').textContent()) ?? '';
    expect(diff).toMatch(/-\s+guestMovesPerDay: 3\n\+\s+guestMovesPerDay: 4\n/);
    await versions.getByRole('button', { name: 'Back to it' }).last().click();
    await page.getByRole('dialog').getByRole('button', { name: 'Go back' }).click();
    await page.getByText('attic follows version 1 of house.').waitFor();
    await versions.getByText('followed by attic').waitFor();
    await stack.api.send('PUT', '/api/v1/clusters/attic/policy', { body: { policy: 'balance' } });
  });
}

/** So low a threshold makes every node hot at once. What `run` did in `home` is taken back. */
async function whileEager(stack: Stack, level: 'auto' | 'approve', run: () => Promise<void>) {
  const autonomy = (to: string) =>
    stack.api.send('PATCH', '/api/v1/clusters/home', {
      body: { autonomy: { 'guest.migrate': to } },
    });
  const follow = (policy: string) =>
    stack.api.send('PUT', '/api/v1/clusters/home/policy', { body: { policy } });
  const { status } = await stack.api.post('policies', { name: `eager-${level}`, yaml: eager });
  expect(status).toBe(201);
  await autonomy(level);
  await follow(`eager-${level}`);
  try {
    await run();
  } finally {
    await autonomy('auto');
    await follow('balance');
  }
}

function decisionFlows(use: () => Use): void {
  it('draws what was measured beside the threshold, and says what would change it', async () => {
    const { page, url, stack } = use();
    await whileEager(stack, 'auto', async () => {
      await page.goto(`${url}/#/decisions`);
      // What a maintenance moved stands there, too, and has no threshold.
      const acted = page
        .locator('.timeline li.acted a')
        .filter({ hasText: 'has had cpu above' })
        .first();
      await acted.waitFor({ timeout: 120_000 });
      await acted.click();
    });
    await page.getByRole('heading', { name: 'Decision' }).waitFor();
    await page.locator('.chart canvas').first().waitFor();
    const legend = page.locator('.chart .u-legend').first();
    expect(await legend.textContent()).toMatch(/measured.*threshold/);
  }, 200_000);

  it('rejects a proposal from the list, and the engine then leaves it', async () => {
    const { page, url, stack } = use();
    await whileEager(stack, 'approve', async () => {
      await page.goto(`${url}/#/decisions`);
      const proposal = page.locator('.proposal').first();
      await proposal.waitFor({ timeout: 120_000 });
      await proposal.getByRole('button', { name: 'Reject' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Reject' }).click();
      await page.getByText('Rejected.').waitFor();
      const rejected = await stack.api.get<{ total: number }>('commands?state=CANCELLED');
      expect(rejected.total).toBeGreaterThan(0);
    });
  }, 200_000);
}

async function signIn(page: Page, password: string): Promise<void> {
  await page.getByLabel('User name').fill('anna');
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

function accountFlows(use: () => Use, password: string): void {
  it('sets up a second factor by its code, asks for it at sign-in, and lets go of it', async () => {
    const { page, url, stack } = use();
    await page.goto(`${url}/#/settings/sign-in`);
    await page.getByRole('button', { name: 'Set up' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(/^Your password/).fill(password);
    await dialog.getByRole('button', { name: 'Go on' }).click();
    await dialog.getByRole('img', { name: /QR code/ }).waitFor();
    const shown = (await dialog.locator('.secret').textContent()) ?? '';
    const app = new TOTP({ secret: Secret.fromBase32(shown.replaceAll(' ', '')) });
    await dialog.getByLabel('Code of the app').fill('000000');
    await dialog.getByRole('button', { name: 'Switch it on' }).click();
    // A wrong code is said in the dialog; it does not end the session.
    await dialog.getByRole('alert').waitFor();
    const first = app.generate();
    await dialog.getByLabel('Code of the app').fill(first);
    await dialog.getByRole('button', { name: 'Switch it on' }).click();
    await page.locator('strong', { hasText: 'On.' }).waitFor();
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await signIn(page, password);
    const code = page.getByLabel(/Six digits/);
    await code.waitFor();
    // A code counts once: the app's next one is waited for.
    await until(() => app.generate() !== first, { withinMs: 40_000, what: 'the next code' });
    await code.fill(app.generate());
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('.shell').waitFor();
    await page.goto(`${url}/#/settings/sign-in`);
    await page.getByRole('button', { name: 'Switch off' }).click();
    await dialog.getByRole('button', { name: 'Switch it off' }).click();
    await page.locator('strong', { hasText: 'Off.' }).waitFor();
    expect(await stack.api.get('users')).toMatchObject({ items: [{ hasSecondFactor: false }] });
  }, 120_000);

  it('ends another session of the same account', async () => {
    const { page, url, stack } = use();
    await stack.api.post('session', { username: 'anna', password });
    await page.goto(`${url}/#/settings/sign-in`);
    await page.reload();
    const end = page.getByRole('button', { name: 'End', exact: true });
    await end.first().click();
    await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
    await page.getByText('It is ended.').waitFor();
    // The list is read anew after the word of success.
    await expect.poll(() => end.count(), { timeout: 10_000 }).toBe(0);
  });
}

function keeperFlows(use: () => Use): void {
  it('adds a channel, says why its test did not arrive, and removes it', async () => {
    const { page, url } = use();
    await page.goto(`${url}/#/settings/notices`);
    await page.getByLabel('Add a channel').selectOption('gotify');
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Address').fill('http://127.0.0.1:9');
    await dialog.getByLabel(/^Token/).fill('not-a-real-token');
    await dialog.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('row', { name: /gotify/ }).waitFor();
    await page.getByRole('button', { name: 'Test' }).click();
    await page.locator('.toast.bad').waitFor();
    await page.getByRole('button', { name: 'Remove' }).click();
    await dialog.getByRole('button', { name: 'Remove' }).click();
    await page.getByText('gotify is removed.').waitFor();
    // The list is read anew after the word of success.
    const rows = page.getByRole('row', { name: /gotify/ });
    await rows.waitFor({ state: 'detached' });
    expect(await rows.count()).toBe(0);
  });

  it('keeps quiet hours, and what is told at all; a refusal takes nothing back that was typed', async () => {
    const { page, url, stack } = use();
    await page.goto(`${url}/#/settings/notices`);
    await page.getByLabel(/Nothing is sent between/).check();
    await page.getByLabel('From', { exact: true }).fill('23:15');
    await page.getByLabel('A backup failed or is overdue').uncheck();
    const zone = page.getByLabel('Zone of these hours');
    const before = await zone.inputValue();
    await zone.fill('Europe/Atlantis');
    const keep = page.getByRole('button', { name: 'Keep' });
    await keep.click();
    await page.getByRole('alert').getByText(/zone/).waitFor();
    expect(await zone.inputValue()).toBe('Europe/Atlantis');
    await zone.fill(before);
    await keep.click();
    // A channel "is kept", too, and the word of that may still stand there.
    await page.getByText('Kept.', { exact: true }).waitFor();
    const settings = await stack.api.get<{ quiet: object; rules: object }>(
      'notifications/settings',
    );
    expect(settings.rules).toMatchObject({ backup: false, 'wake-failed': true });
    expect(settings.quiet).toMatchObject({ from: '23:15', to: '07:00', isStrict: false });
  });

  it('is told where Kernreaktor lives, and told otherwise', async () => {
    const { page, url, stack } = use();
    await page.goto(`${url}/#/settings/house`);
    const say = async (place: string): Promise<void> => {
      await page.getByRole('button', { name: 'Say where it is' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('Runs on').selectOption(place);
      await dialog.getByRole('button', { name: 'Keep' }).click();
      await dialog.waitFor({ state: 'hidden' });
    };
    await say('attic/mini');
    await page.getByText('as you said').waitFor();
    await say('');
    await page.getByText('as you said').waitFor({ state: 'hidden' });
    const { unknown } = await stack.api.get<{ unknown: string[] }>('own-house');
    expect(unknown).toEqual([]);
  });

  it('makes a backup and hands it out encrypted', async () => {
    const { page, url } = use();
    await page.goto(`${url}/#/settings/backups`);
    await page.getByRole('button', { name: 'Back up now' }).click();
    await page.getByText(/is whole and on the disk/).waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page
        .getByRole('button', { name: /^Download/ })
        .first()
        .click(),
    ]);
    const bytes = await readFile(await download.path());
    expect(bytes.subarray(0, 21).toString()).toBe('age-encryption.org/v1');
  });

  it('finds an entry of the audit log and saves all of it', async () => {
    const { page, url } = use();
    await page.goto(`${url}/#/activity/audit`);
    await page.getByLabel('Search the audit log').fill('backup.made');
    await page
      .getByRole('rowheader', { name: /backup\.made/ })
      .first()
      .waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Save all of it' }).click(),
    ]);
    const lines = (await readFile(await download.path(), 'utf8')).split('\n');
    expect(lines.length).toBeGreaterThan(5);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('hash');
  });

  it('opens the newest commands over any page, by keyboard, and closes them by Escape', async () => {
    const { page, url } = use();
    await page.goto(`${url}/#/`);
    await page.getByRole('button', { name: 'Newest commands', exact: true }).focus();
    await page.keyboard.press('Enter');
    const drawer = page.getByRole('complementary', { name: 'Newest commands' });
    await drawer.locator('summary').first().click();
    await drawer.locator('.steps li').first().waitFor();
    await page.keyboard.press('Escape');
    await drawer.waitFor({ state: 'hidden' });
    const focused = page.locator(':focus');
    expect(await focused.getAttribute('aria-label')).toBe('Newest commands');
  });
}

export function engineFlows(use: () => Use, password: string): void {
  policyFlows(use);
  versionFlow(use);
  decisionFlows(use);
  accountFlows(use, password);
  keeperFlows(use);
}
