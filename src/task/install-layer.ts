import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { bytesBelow } from '../kit/bytes-below.js';
import { clearAway } from '../kit/clearing.js';
import type { Log } from '../log.js';
import { checkLayer } from './check-layer.js';
import { type InstallPlan, planInstall } from './install-plan.js';
import { confirmSha1Only } from './make-lock.js';
import { NPM_CACHE, type NpmOptions, type NpmResult, runNpm } from './npm.js';

export interface LayerInstall {
  /** Folder of the layers, with npm's cache next to them. */
  readonly folder: string;
  /** A path in it that does not exist yet, where the layer is built. */
  readonly unfinished: string;
  readonly packageJson: string;
  readonly lock: string;
  readonly allowScripts: boolean;
  readonly npm: NpmOptions;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** Maximum size of npm's download cache; a larger one is discarded. */
const MAX_CACHE_BYTES = 1024 ** 3;

/**
 * Has npm install `node_modules` according to the plan, and checks the result. Rejects with `dependencies-refused` or
 * `dependencies-failed`.
 */
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
    await confirmSha1Only(plan.packages, (args) => run(args, names));
    // Without scripts nobody uses commands, so their links are left out.
    check(await run(['ci', '--omit=dev', '--ignore-scripts', ...(allowScripts ? [] : ['--no-bin-links'])], names));
  });
  // Separate from the download, so that a script sees neither credentials nor the cache of other tasks.
  if (allowScripts) check(await run(['rebuild', '--no-ignore-scripts'], [], true));
  await mkdir(join(unfinished, 'node_modules'), { recursive: true }); // npm creates none if every package is for other platforms
}

/** The cache belongs to one install at a time; a concurrent one runs without it, or starts a new one. */
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
