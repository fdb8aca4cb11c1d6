import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { bytesBelow } from '../kit/bytes-below.js';
import { clearAway } from '../kit/clearing.js';
import type { Log } from '../log.js';
import { checkLayer } from './check-layer.js';
import { type InstallPlan, planInstall } from './install-plan.js';
import { confirmWeak } from './make-lock.js';
import { NPM_CACHE, type NpmOptions, type NpmResult, runNpm } from './npm.js';

export interface LayerInstall {
  /** Where layers are kept, and npm's cache beside them. */
  readonly folder: string;
  /** A name in it that is not there yet: what is made stands there. */
  readonly unfinished: string;
  readonly packageJson: string;
  readonly lock: string;
  readonly allowScripts: boolean;
  readonly npm: NpmOptions;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** What npm keeps to save downloads; beyond that it begins anew. */
const MAX_CACHE_BYTES = 1024 ** 3;

/** Has npm make `node_modules` from what may be installed, and looks it through. Rejects with `dependencies-refused` or `dependencies-failed`. */
export async function installLayer(install: LayerInstall): Promise<void> {
  const { unfinished, packageJson, lock, allowScripts } = install;
  const plan = planInstall(packageJson, lock, allowScripts);
  await mkdir(unfinished, { mode: 0o755 });
  await runNpmFor(plan, install);
  await checkLayer(unfinished, plan.packages);
}

async function runNpmFor(plan: InstallPlan, install: LayerInstall): Promise<void> {
  const { unfinished, allowScripts, timeoutMs, signal, npm } = install;
  const names = plan.packages.map(({ name }) => name);
  await writeFile(join(unfinished, 'package.json'), plan.packageJson);
  await writeFile(join(unfinished, 'package-lock.json'), plan.lock);
  const run = (args: readonly string[], credentials: readonly string[], scripts = false) =>
    runNpm(args, { cwd: unfinished, timeoutMs, signal, scripts, names: credentials }, npm);
  await withCache(install, async () => {
    await confirmWeak(plan.packages, (args) => run(args, names));
    // Without scripts nobody looks for commands, and their links are left out.
    check(await run(['ci', '--omit=dev', '--ignore-scripts', ...(allowScripts ? [] : ['--no-bin-links'])], names));
  });
  // Apart from the download, so that a script sees neither credentials nor the cache of other tasks.
  if (allowScripts) check(await run(['rebuild', '--no-ignore-scripts'], [], true));
  await mkdir(join(unfinished, 'node_modules'), { recursive: true }); // npm makes none if every package is for other platforms
}

/** The cache belongs to one install at a time; another one goes without, or begins the next. */
async function withCache({ folder, unfinished, log }: LayerInstall, work: () => Promise<void>): Promise<void> {
  const [shared, own] = [join(folder, 'npm-cache'), join(unfinished, NPM_CACHE)];
  await rename(shared, own).catch(() => {});
  try {
    await work();
  } finally {
    const tooLarge = (await bytesBelow(own, MAX_CACHE_BYTES)) > MAX_CACHE_BYTES;
    if (!tooLarge) await rename(own, shared).catch(() => {});
    await clearAway(own, log);
  }
}

function check({ fault }: NpmResult): void {
  if (fault !== undefined) throw new PeerworkError('dependencies-failed', fault);
}
