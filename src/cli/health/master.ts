import { basename, dirname } from 'node:path';
import type { Clock } from '../../clock.js';
import { type ErrorCode, knownError, type PeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import { omitUndefined } from '../../kit/omit.js';
import { loadOrCreateKeyFile } from '../../swarm/key-file.node.js';
import type { Platform } from '../../swarm/platform.js';
import type { Token } from '../../swarm/token.js';
import { WorkerSwarm } from '../../swarm/worker-swarm.js';
import { takeHome } from '../../worker/home.js';
import { formatDuration } from '../figures.js';
import type { Options } from '../option-table.js';
import { readWorkerStatuses } from '../worker-status.js';

export interface MasterCheckOptions {
  readonly token: Token;
  readonly options: Pick<Options, 'transferEncryptToken' | 'trackers' | 'ice'>;
  /** Name of the Worker. */
  readonly worker: string;
  readonly home: string;
  readonly platform: Platform;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const name = 'master';
const UNHEARD = 'Check the trackers above; if they respond, run this again with more time (`--timeout 60`).';
/** Refusals that another attempt cannot change, so there is no need to wait for the timeout. */
const final: ReadonlySet<string> = new Set<ErrorCode>([
  'worker-revoked',
  'worker-unapproved',
  'worker-impostor',
  'master-impostor',
  'secret-mismatch',
  'transfer-secret-mismatch',
  'handshake-version',
]);

/**
 * Checks whether the Master can be found. Relies on a Worker that runs here; otherwise joins with the Worker's own key, so that the
 * Master sees no stranger and also reports whether this Worker is approved. No other process can take the key meanwhile, because
 * the home is locked.
 */
export async function checkMaster(check: MasterCheckOptions): Promise<Check> {
  const running = readWorkerStatuses(check.home).filter(({ sources }) => sources.includes('master'));
  const [first] = running;
  if (first !== undefined) {
    const { master } = running.find((one) => one.master !== undefined) ?? {};
    if (master !== undefined) return { name, state: 'ok', detail: `the Worker that runs is connected to ${master.name} (${master.path})` };
    const warning = first.warnings.find(({ source }) => source === 'master');
    const why = warning === undefined ? '' : `: ${warning.message} [${warning.code}]`;
    return {
      name,
      state: 'fail',
      detail: `the Worker that runs has not found it${why}`,
      hint: knownError(warning?.code)?.hint ?? 'Run this again in a minute: it has only begun to look.',
    };
  }
  const home = await takeHome(check.home);
  try {
    if (basename(dirname(home.keyFile)) !== '1')
      return {
        name,
        state: 'warn',
        detail: 'another program is using this home and gives no details',
        hint: 'Stop it, then run this again.',
      };
    return await join(check, home.keyFile);
  } finally {
    await home.release();
  }
}

async function join({ token, options, worker, platform, clock, signal }: MasterCheckOptions, keyFile: string): Promise<Check> {
  const { transferEncryptToken: transferSecret, trackers, ice } = options;
  const identity = loadOrCreateKeyFile(keyFile).keyPair;
  const startedAt = clock.now();
  // Requests no work and handles no calls: it disconnects before the Master could hand out any.
  const accept = () => ({});
  const swarm = new WorkerSwarm({
    token,
    identity,
    name: worker,
    platform,
    clock,
    accept,
    ...omitUndefined({ transferSecret, trackers, ice }),
  });
  let warning: PeerworkError | undefined;
  try {
    return await new Promise<Check>((resolve) => {
      const fail = () =>
        resolve(
          warning === undefined
            ? { name, state: 'fail', detail: 'nothing was heard in the time that there was', hint: UNHEARD }
            : { name, state: 'fail', detail: `${warning.message} [${warning.code}]`, hint: warning.hint },
        );
      if (signal.aborted) return fail();
      signal.addEventListener('abort', fail, { once: true });
      swarm.on('connected', (peer) => {
        const after = formatDuration(clock.now() - startedAt);
        resolve({ name, state: 'ok', detail: `${peer.name} found after ${after}, path ${peer.path}, and it takes this Worker` });
      });
      swarm.on('warning', (error) => {
        warning = error;
        if (final.has(error.code)) fail();
      });
      swarm.start();
    });
  } finally {
    await swarm.close();
  }
}
