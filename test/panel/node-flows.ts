/**
 * A node as a person takes it in hand, in the browser of the file that calls it. Leaves the node as
 * it was, its guests where the engine put them.
 */
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { EmptyingView } from '../../backend/http/routes/emptying.ts';
import type { Stack } from '../support/stack.ts';
import { violations } from './axe.ts';

type Use = { page: Page; url: string; stack: Stack };
type Kept = { evacuation: object | null };

/** The node of the demo's house that is longest being emptied, all of whose guests may leave. */
async function fullNode({ api }: Stack): Promise<{ node: string; found: EmptyingView }> {
  const { items } = await api.get<{ items: { id: string }[] }>('nodes?cluster=home&limit=100');
  const known = await Promise.all(
    items.map(async ({ id: node }) => ({
      node,
      found: await api.get<EmptyingView>(`clusters/home/nodes/${node}/maintenance`),
    })),
  );
  const [fullest] = known
    .filter(({ found: { guests, isProven } }) => guests.length > 0 && isProven)
    .filter(({ found: { guests } }) => guests.every(({ way }) => way === 'moves'))
    .sort((a, b) => b.found.guests.length - a.found.guests.length);
  if (fullest) return fullest;
  throw new Error(`no node can be emptied: ${JSON.stringify(known)}`);
}

export function nodeFlows(use: () => Use): void {
  it('empties a node for its maintenance after saying who goes where, and gives it back', async () => {
    const { page, url, stack } = use();
    const { node, found } = await fullNode(stack);
    const kept = () => stack.api.get<Kept>(`clusters/home/nodes/${node}`);
    await page.goto(`${url}/#/nodes/home/${node}`);
    await page.getByRole('button', { name: 'Maintenance' }).click();
    const dialog = page.getByRole('dialog');
    const rows = dialog.getByRole('list', { name: 'Who goes where' }).getByRole('listitem');
    await rows.first().waitFor();
    const said = (await rows.allTextContents()).join('\n');
    for (const { name } of found.guests) expect(said).toMatch(new RegExp(`${name} moves to \\w+`));
    expect(await violations(page)).toEqual([]);
    await dialog.getByLabel(/^Reason/).fill('new fans');
    await dialog.getByRole('button', { name: 'Begin' }).click();
    const region = page.getByRole('region', { name: 'Maintenance' });
    await region.getByText(/is being emptied|is empty/).waitFor();
    expect(await violations(page)).toEqual([]);
    // How it goes on to an empty node and back is the engine's, and tested by the command line.
    expect((await kept()).evacuation).toMatchObject({ phase: 'evacuate', sleeps: false });
    await region.getByRole('button', { name: 'End maintenance' }).click();
    await dialog.getByLabel('They come back, one after the other').check();
    await dialog.getByRole('button', { name: 'End maintenance' }).click();
    await region.getByText(`The maintenance of ${node} is over.`).waitFor();
    expect((await kept()).evacuation).toMatchObject({ phase: 'return' });
    await region.getByRole('button', { name: 'Leave them where they are' }).click();
    await region.waitFor({ state: 'detached' });
    expect((await kept()).evacuation).toBe(null);
    // The same again, and off once it is empty; taken back before it comes to that.
    await page.getByRole('button', { name: 'Maintenance' }).click();
    await dialog.getByLabel(/^It is switched off; nothing wakes it/).check();
    await dialog.getByRole('button', { name: 'Begin' }).click();
    await region.getByText(/then it is switched off|switched off next|switched off\./).waitFor();
    expect((await kept()).evacuation).toMatchObject({ phase: 'evacuate', sleeps: true });
    await region.getByRole('button', { name: 'End maintenance' }).click();
    await dialog.getByLabel('They stay where they are now').check();
    await dialog.getByRole('button', { name: 'End maintenance' }).click();
    await region.waitFor({ state: 'detached' });
    expect((await kept()).evacuation).toBe(null);
  }, 120_000);
}
