import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { asPeerworkError, type ErrorCode } from '../errors.js';
import type { Runner } from '../job/runner.js';
import type { Log } from '../log.js';
import type { RunnerSetup } from '../runners/setup.js';
import { TaskModuleRunner } from '../runners/task-module/task-module-runner.js';
import type { Home } from './home.js';
import { npmOf } from './open-workplaces.js';
import type { WorkerOptions } from './options.js';

const DEFAULT_MEMORY_MB = 512;

export interface OpenRunnersOptions {
  readonly worker: string;
  readonly concurrency: number;
  readonly home: Home;
  readonly options: WorkerOptions;
  readonly clock: Clock;
  readonly log: Log;
}

/** By kind. Rejects if one that is required cannot be had; another one that this machine cannot have is left out, with a line in the log. */
export async function openRunners({ worker, concurrency, home, options, clock, log }: OpenRunnersOptions): Promise<Map<string, Runner>> {
  const { taskNetwork } = options;
  const memoryMb = options.memoryMb ?? DEFAULT_MEMORY_MB;
  const opened = new Map<string, Runner>();
  /** By the reason, which several kinds may share. */
  const missing = new Map<string, { readonly code: ErrorCode; readonly kinds: readonly string[] }>();
  const open = async ({ kind, required = false, open }: RunnerSetup) => {
    const folder = join(home.runners, kind);
    const own = log.with({ runner: kind });
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const network = taskNetwork !== undefined && { network: taskNetwork };
      opened.set(kind, await open({ worker, concurrency, memoryMb, folder, clock, log: own, npm: npmOf(options), ...network }));
    } catch (thrown) {
      if (required) throw thrown;
      const { message, code } = asPeerworkError(thrown);
      missing.set(message, { code, kinds: [...(missing.get(message)?.kinds ?? []), kind] });
    }
  };
  try {
    const results = await Promise.allSettled([taskModules(home, options), ...(options.runners ?? [])].map(open));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  } catch (error) {
    await Promise.all([...opened.values()].map((runner) => runner.close()));
    throw error;
  }
  for (const [message, { code, kinds }] of missing) log.info(`jobs for ${kinds.join(' and ')} are left to others: ${message}`, { code });
  return opened;
}

/** Every Worker has this one. */
function taskModules(home: Home, { taskNetwork = 'internet', sandbox = 'auto', bubblewrap }: WorkerOptions): RunnerSetup {
  return {
    kind: 'task-module',
    required: true,
    open: ({ clock, log, concurrency, memoryMb }) =>
      TaskModuleRunner.start({
        ...{ clock, log, concurrency, memoryMb, scratchFolder: home.scratch, network: taskNetwork, sandbox },
        ...(bubblewrap !== undefined && { bubblewrap }),
      }),
  };
}
