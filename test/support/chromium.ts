/**
 * Debian's Chromium for tests that use the panel as a person does, installed only where that was
 * asked for. Whatever the page logs as an error, or throws, is kept: a test ends with none.
 */
import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';
import { installPackages } from './debian.ts';

const program = '/usr/bin/chromium';
const isAsked = process.env['KR_TEST_INSTALL'] === '1' && process.getuid?.() === 0;
/** Empty where a browser may be installed, else why these tests are skipped. */
export const noChromium = isAsked
  ? ''
  : ' (skipped: installs chromium; set KR_TEST_INSTALL=1 and be root)';

async function install(): Promise<void> {
  if (!existsSync(program)) await installPackages(['chromium']);
}

export async function startChromium(): Promise<Browser> {
  await install();
  return chromium.launch({ executablePath: program, args: ['--no-sandbox'] });
}

/** What went wrong in a page so far, its refused requests left out: pages show those. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    const isRefusal = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !isRefusal) complaints.push(message.text());
  });
  return complaints;
}
