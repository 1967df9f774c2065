/**
 * The path of a stranger, from a clean clone to the first decision understood, by the two commands of
 * README and real clicks in a headless Chromium: seconds and steps of each stage.
 *
 *   node test/bench/stranger.ts [--from <repository>] [--shots <folder>]
 *
 * A step is a line typed, a field filled, an address opened or something pressed. The ports are any
 * free ones; all else is as it comes. The last line is one JSON object.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Page } from 'playwright-core';
import { complaintsOf, startChromium } from '../support/chromium.ts';
import { machine } from '../support/experiment.ts';
import { until } from '../support/servers.ts';

const { values } = parseArgs({
  options: {
    from: { type: 'string', default: join(import.meta.dirname, '..', '..') },
    shots: { type: 'string' },
  },
});
const patienceMs = 600_000;

type Stage = { stage: string; seconds: number; steps: number };
const stages: Stage[] = [];
let steps = 0;
let sinceMs = performance.now();

const loadAtStart = loadavg()[0] ?? 0;

function passed(stage: string): void {
  const nowMs = performance.now();
  stages.push({ stage, seconds: Number(((nowMs - sinceMs) / 1_000).toFixed(1)), steps });
  process.stderr.write(`${JSON.stringify(stages.at(-1))}\n`);
  steps = 0;
  sinceMs = performance.now();
}

/** As a stranger has it: without any setting or package of ours. */
const environment = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(KR_|NODE_|npm_)/.test(name)),
  ),
  PATH: (process.env['PATH'] ?? '')
    .split(':')
    .filter((part) => !part.includes('node_modules'))
    .join(':'),
};

async function startIn(folder: string): Promise<{ child: ChildProcess; address: string }> {
  const child = spawn('npm', ['start'], {
    cwd: folder,
    env: { ...environment, KR_HTTP_PORT: '0', KR_MQTT_PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const address = (): string | undefined => /http:\/\/\S+#setup=\S+/.exec(said)?.[0];
  await until(
    async () => {
      if (child.exitCode !== null) throw new Error(`npm start ended: ${said.slice(-2_000)}`);
      return address() !== undefined;
    },
    { withinMs: patienceMs, what: 'the start line' },
  );
  return { child, address: address() ?? '' };
}

async function shot(page: Page, name: string): Promise<void> {
  if (values.shots === undefined) return;
  await page.screenshot({ path: join(values.shots, `stranger-${name}.png`) });
}

async function account(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await page.getByLabel('User name').fill('ada');
  await page.getByLabel(/Password/).fill('a long sentence nobody guesses');
  await shot(page, 'account');
  await page.getByRole('button', { name: 'Create account' }).click();
  await page.getByRole('heading', { name: 'What shall be watched?' }).waitFor();
  await shot(page, 'ways');
  steps += 4;
  passed('an account');
}

async function demo(page: Page): Promise<void> {
  await page.locator('.way', { hasText: 'Look around in the demo' }).click();
  await page.getByRole('button', { name: 'Start the demo' }).click();
  await page.locator('.card.node', { hasText: 'nuc1' }).waitFor();
  await shot(page, 'demo');
  steps += 2;
  passed('the demo');
}

/** Understood: what was measured, the threshold, what was done and what else was possible. */
async function decision(page: Page): Promise<string> {
  await page.getByRole('link', { name: 'Decisions' }).first().click();
  const acted = page.locator('.timeline li.acted a').first();
  await acted.waitFor();
  await acted.click();
  await page.getByRole('heading', { name: 'Decision' }).waitFor();
  await page
    .locator('.chart .u-legend', { hasText: /measured.*threshold/ })
    .first()
    .waitFor();
  await shot(page, 'decision');
  steps += 2;
  passed('the first decision that acted, with its measured curve and threshold');
  return (await page.locator('main').textContent()) ?? '';
}

const folder = await mkdtemp(join(tmpdir(), 'kr-stranger-'));
const clone = join(folder, 'kernreaktor');
let server: ChildProcess | undefined;
const browser = await startChromium();
try {
  sinceMs = performance.now();
  execFileSync('git', ['clone', '-q', values.from, clone]);
  steps = 1;
  passed('git clone');
  execFileSync('npm', ['ci'], { cwd: clone, env: environment, stdio: 'ignore' });
  const started = await startIn(clone);
  server = started.child;
  steps = 1;
  passed('npm ci && npm start, until its address is printed');
  const context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
  context.setDefaultTimeout(patienceMs);
  const page = await context.newPage();
  const complaints = complaintsOf(page);
  await account(page, started.address);
  await demo(page);
  const words = await decision(page);
  const total = stages.reduce((sum, { seconds }) => sum + seconds, 0);
  const line = {
    machine: machine(),
    loadAtStart,
    stages,
    seconds: Math.round(total),
    steps: stages.reduce((sum, stage) => sum + stage.steps, 0),
    complaints,
    decision: words.replaceAll(/\s+/g, ' ').slice(0, 400),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
} finally {
  await browser.close();
  if (server?.pid !== undefined && server.exitCode === null) {
    const ended = once(server, 'exit');
    process.kill(-server.pid, 'SIGTERM');
    await ended;
  }
  await rm(folder, { recursive: true, force: true });
}
