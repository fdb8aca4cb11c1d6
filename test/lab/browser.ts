import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import type { Test } from 'tap';

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Only bounds hangs: on a busy machine a page takes its time. */
const LIMIT_MS = 600_000;

export function findChromium(): string | undefined {
  return places.find((place) => existsSync(place));
}

/** Starts a real headless browser; it ends with the test. */
export async function openBrowser(t: Test): Promise<Browser> {
  const executablePath = findChromium();
  if (executablePath === undefined) throw new Error('there is no Chromium');
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  t.teardown(() => browser.close());
  const newPage = browser.newPage.bind(browser);
  browser.newPage = async (...args) => {
    const page = await newPage(...args);
    page.setDefaultTimeout(LIMIT_MS);
    return page;
  };
  return browser;
}

/** Collects errors of the page; there should be none. */
export function complaints(page: Page): string[] {
  const heard: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') heard.push(message.text());
  });
  page.on('pageerror', (error) => heard.push(error.message));
  return heard;
}

/** Saved to PEERWORK_TEST_ARTEFACTS if that is set. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env['PEERWORK_TEST_ARTEFACTS'];
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}
