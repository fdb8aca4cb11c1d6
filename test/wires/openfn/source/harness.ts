import type { Test } from 'tap';
import { systemClock } from '../../../../src/clock.js';
import type { PeerworkError } from '../../../../src/errors.js';
import type { Outcome } from '../../../../src/job/job.js';
import type { Lease, Source } from '../../../../src/job/source.js';
import { createLog, silentLog } from '../../../../src/log.js';
import type { SourceContext } from '../../../../src/sources/setup.js';
import type { OpenfnEvent, OpenfnRun } from '../../../../src/wires/openfn/protocol.js';
import { type OpenfnSourceOptions, openfnSource } from '../../../../src/wires/openfn/source/openfn-source.js';
import { Lightning, type LightningOptions } from '../../../lab/lightning.js';

type Tap = Pick<Test, 'teardown'>;

/** Plays the runner for one lease. */
export type Script = (run: OpenfnRun, tell: (event: OpenfnEvent) => void, lease: Lease) => Promise<Outcome | undefined>;

export interface Harness {
  readonly lightning: Lightning;
  readonly source: Source;
  readonly warnings: PeerworkError[];
  readonly lines: string[];
  readonly outcomes: Map<string, Outcome>;
  /** Stops claiming; active runs continue. */
  stopClaiming(): Promise<void>;
}

export const SECRET = 'the secret of both';
const at = () => `${Date.now()}000`;

export async function startLightning(t: Tap, options: LightningOptions = {}): Promise<Lightning> {
  const lightning = await new Lightning(options).start();
  t.teardown(() => lightning.stop());
  return lightning;
}

export interface HarnessOptions extends Partial<OpenfnSourceOptions> {
  readonly concurrency?: number;
  readonly script?: Script;
  readonly runners?: readonly string[];
  /** When the runners that are missing at first become available; default: never. */
  readonly late?: Promise<void>;
  readonly lightning?: Lightning | LightningOptions;
  readonly folder?: string;
}

/** A source connected to a fake server, with a minimal version of a Worker's loop around it. */
export async function start(t: Tap, options: HarnessOptions = {}): Promise<Harness> {
  const {
    concurrency = 2,
    script = oneStep(),
    runners = ['openfn'],
    late = new Promise(() => {}),
    lightning: lightningOptions,
    folder = '/nowhere',
    ...settings
  } = options;
  const lightning = lightningOptions instanceof Lightning ? lightningOptions : await startLightning(t, lightningOptions);
  const warnings: PeerworkError[] = [];
  const lines: string[] = [];
  const context: SourceContext = {
    worker: 'attic',
    concurrency,
    runners,
    runnerJoined: async (kind) => {
      if (!runners.includes(kind)) await late;
    },
    folder,
    clock: systemClock,
    log: createLog({ level: 'debug', write: (line) => lines.push(line) }),
    openOutbox: () => Promise.reject(new Error('nothing of a run may be kept')),
    localTask: () => Promise.reject(new Error('not used')),
    warning: (error) => warnings.push(error),
  };
  const setup = openfnSource({ url: lightning.url, secret: SECRET, backoffMs: [50, 400], messageMs: 5_000, ...settings });
  const source = await setup.open(context);
  const outcomes = new Map<string, Outcome>();
  const stop = new AbortController();
  let running = 0;
  let freed: () => void = () => {};
  const loop = (async () => {
    while (!stop.signal.aborted) {
      if (running >= concurrency) {
        await new Promise<void>((resolve) => {
          freed = resolve;
        });
        continue;
      }
      for (const lease of await source.claim(concurrency - running, stop.signal)) {
        running += 1;
        void see(lease, script, stop.signal).then((outcome) => {
          outcomes.set(lease.job.id, outcome);
          running -= 1;
          freed();
        });
      }
    }
  })();
  const stopClaiming = async () => {
    stop.abort();
    freed();
    await loop;
  };
  t.teardown(async () => {
    await stopClaiming();
    await source.close();
  });
  return { lightning, source, warnings, lines, outcomes, stopClaiming };
}

async function see(lease: Lease, script: Script, stopped: AbortSignal): Promise<Outcome> {
  let outcome: Outcome = { state: 'released', reason: 'the worker stops' };
  if (!stopped.aborted)
    try {
      const run = (await lease.exchange?.ask({ ask: 'run' })) as OpenfnRun;
      outcome = (await script(run, (event) => lease.exchange?.tell(event), lease)) ?? { state: 'completed', output: null };
    } catch (error) {
      outcome = { state: 'failed', error: { code: 'openfn-run-failed', message: String(error) }, retry: false };
    }
  await lease.settle(outcome);
  return outcome;
}

export function started(tell: (event: OpenfnEvent) => void): void {
  tell({ event: 'start', at: at(), versions: { node: '20', engine: '1.13.0', '@openfn/language-common': ['3.2.3'] } });
}

export function line(message: string): OpenfnEvent {
  return { event: 'log', at: at(), level: 'info', source: 'JOB', message: [message] };
}

/** Runs each step in turn with one log line, and ends in `state`. */
export function oneStep(state: Record<string, never> | object = { data: { done: true } }): Script {
  return async (run, tell) => {
    started(tell);
    for (const { id, next = {} } of run.steps.filter(({ expression }) => expression !== undefined)) {
      tell({ event: 'step-start', at: at(), step: id });
      tell(line(`in ${id}`));
      const end = { event: 'step-end', at: at(), step: id, durationMs: 3, threadId: 1, mem: { job: 1, system: 2 } } as const;
      tell({ ...end, state: state as never, next: Object.keys(next), withheld: false });
    }
    tell({ event: 'end', at: at(), state: state as never });
    return undefined;
  };
}

export const job = (id: string, more: object = {}) => ({ id, adaptor: '@openfn/language-common@3.2.3', body: 'fn(s => s)', ...more });
export { at, silentLog };
