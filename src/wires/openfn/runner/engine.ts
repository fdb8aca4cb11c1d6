import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Clock, pause } from '../../../clock.js';
import { asPeerworkError, PeerworkError } from '../../../errors.js';
import { LightningError } from '../errors.js';
import type { EngineStep } from './adaptors.js';

const ENGINE = '@openfn/engine-multi';
/** Time limit for starting the engine, which starts a process and does a handshake with it: normally half a second. */
export const START_MS = 60_000;

/** The part of `@openfn/engine-multi` 1.13 that we use. It is not a dependency, so its types cannot be imported. */
export interface Engine {
  readonly version: string;
  /** Read again for each run. */
  readonly options: { whitelist?: readonly RegExp[] };
  listen(planId: string, handlers: Readonly<Record<string, (event: EngineEvent) => void>>): void;
  execute(plan: EnginePlan, input: unknown, options: Readonly<Record<string, unknown>>): unknown;
  destroy(instant?: boolean): Promise<void>;
}

/** The fields depend on the kind of event; `time` is in nanoseconds. */
export type EngineEvent = Readonly<Record<string, unknown>>;

export interface EnginePlan {
  readonly id: string;
  readonly workflow: {
    readonly name?: string;
    readonly steps: readonly EngineStep[];
    readonly credentials?: unknown;
    readonly globals?: string;
  };
  readonly options: { readonly start?: string };
}

export interface EngineOptions {
  readonly repoDir: string;
  readonly memoryLimitMb: number;
  readonly runTimeoutMs: number;
  readonly statePropsToRemove: readonly string[];
  readonly autoinstall: {
    handleInstall(specifier: string, repoDir: string): Promise<void>;
    versionLookup?(specifier: string): Promise<string>;
  };
}

export type OpenEngine = (options: EngineOptions) => Promise<Engine>;

/** Finds the engine next to peerwork, or in the working directory. Rejects with `openfn-engine-missing`. */
export async function loadEngine(clock: Clock): Promise<OpenEngine> {
  const file = findEngine();
  const { default: create } = (await import(pathToFileURL(file).href)) as { default: (options: object) => Promise<Engine> };
  return async (options) => {
    // One process per engine, because a run can only be cancelled by ending its engine.
    const opening = create({ ...options, logger: silent, maxWorkers: 1 }).catch((thrown: unknown) => {
      throw asPeerworkError(thrown, LightningError.of('openfn-engine-broken'));
    });
    const slow = new AbortController();
    const late = pause(clock, START_MS, slow.signal).then(() => undefined);
    const engine = await Promise.race([opening, late]).finally(() => slow.abort());
    if (engine !== undefined) return engine;
    opening.then(
      (engine) => engine.destroy(true),
      () => {},
    );
    throw new LightningError('openfn-engine-broken', `its process is not ready after ${START_MS / 1_000} s`);
  };
}

function findEngine(): string {
  for (const from of [import.meta.url, pathToFileURL(join(process.cwd(), 'package.json'))]) {
    try {
      const file = createRequire(from).resolve(ENGINE);
      requireCompiler(file);
      return file;
    } catch (thrown) {
      if (thrown instanceof PeerworkError) throw thrown;
    }
  }
  throw new LightningError('openfn-engine-missing', `${ENGINE} is not there`);
}

/** Without the compiler the engine's process would hang forever. */
function requireCompiler(engineFile: string): void {
  try {
    createRequire(engineFile).resolve('@openfn/compiler');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND')
      throw new LightningError('openfn-engine-missing', '@openfn/compiler is not there');
  }
}

/** The engine's own log only repeats its events, including names of credentials and logs of jobs. */
const nothing = () => {};
const silent = {
  debug: nothing,
  info: nothing,
  log: nothing,
  warn: nothing,
  error: nothing,
  success: nothing,
  always: nothing,
  proxy: nothing,
  timer: nothing,
  break: nothing,
};
