import type { Clock } from '../../../clock.js';
import type { Json } from '../../../job/job.js';
import { VALUE_LIMITS } from '../../../job/limits.js';
import type { Exchange } from '../../../job/source.js';
import { isValueDeeper, MAX_JSON_DEPTH, parseJson } from '../../../kit/json.js';
import type { OpenfnError, OpenfnEvent, OpenfnRun } from '../protocol.js';
import type { EngineStep } from './adaptors.js';
import type { Engine, EngineEvent } from './engine.js';

export interface EngineRunOptions {
  readonly run: OpenfnRun;
  readonly steps: readonly EngineStep[];
  readonly tell: (event: OpenfnEvent) => void;
  readonly exchange: Exchange | undefined;
  readonly memoryMb: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Called with the id of the process in which the run executes. */
  readonly onProcess?: (pid: number) => void;
}

export type RunEnd = { readonly state: Json } | { readonly error: OpenfnError };

/** A quarter of the memory, as in OpenFn's worker: a state is copied several times on its way out. */
const STATE_SHARE = 0.25;

/**
 * Runs a workflow on an engine and reports its events. Resolves when the engine has reported the end; never, if the engine is destroyed.
 */
export function runOnEngine(
  engine: Engine,
  { run, steps, tell, exchange, memoryMb, timeoutMs, clock, onProcess }: EngineRunOptions,
): Promise<RunEnd> {
  return new Promise((resolve) => {
    let ended = false;
    // The engine may report the end several times, and continue with its log.
    const end = (how: RunEnd, event: OpenfnEvent) => {
      if (ended) return;
      ended = true;
      tell(event);
      resolve(how);
    };
    const on = (handle: (event: EngineEvent) => void) => (event: EngineEvent) => {
      if (ended) return;
      try {
        // States, and log lines of states, are values from another process.
        if (isValueDeeper(event, MAX_JSON_DEPTH)) throw new Error('nested too deep');
        handle(event);
      } catch {
        // An adaptor can send anything from its thread; invalid events are dropped.
      }
    };
    engine.listen(run.id, {
      'compile-start': on(({ processId }) => {
        if (typeof processId === 'number') onProcess?.(processId);
      }),
      'workflow-start': on((event) => tell({ event: 'start', at: microseconds(event['time']), versions: event['versions'] as never })),
      'job-start': on((event) => tell({ event: 'step-start', at: microseconds(event['time']), step: String(event['jobId']) })),
      'job-complete': on((event) => tell(stepEnd(event))),
      'job-error': on((event) => tell(stepEnd(event, readError(event['error'] as EngineEvent)))),
      'workflow-log': on((event) => {
        const line = logLine(event);
        if (line !== undefined) tell(line);
      }),
      'workflow-complete': on((event) => {
        const state = (event['state'] ?? {}) as Json;
        end({ state }, { event: 'end', at: microseconds(event['time']), state });
      }),
      'workflow-error': on((event) => {
        const error = readError(event);
        // The only event without a time.
        end({ error }, { event: 'failed', at: `${clock.wall()}000`, error });
      }),
    });
    const { options } = run;
    const workflow = { ...(run.name && { name: run.name }), steps, ...shared(run) };
    engine.execute({ id: run.id, workflow, options: run.start === undefined ? {} : { start: run.start } }, run.input ?? {}, {
      resolvers: { credential: (id: string) => askCredential(exchange, id) },
      runTimeoutMs: timeoutMs,
      memoryLimitMb: memoryMb,
      stateLimitMb: options.stateLimitMb ?? Math.max(1, Math.floor(memoryMb * STATE_SHARE)),
      ...(options.payloadLimitMb !== undefined && { payloadLimitMb: options.payloadLimitMb }),
      ...(options.logLimitMb !== undefined && { logPayloadLimitMb: options.logLimitMb }),
      ...(options.jobLogLevel !== undefined && { jobLogLevel: options.jobLogLevel }),
      ...(options.sanitize !== undefined && { sanitize: options.sanitize }),
    });
  });
}

function shared({ credentials, globals }: OpenfnRun) {
  return { ...(credentials !== undefined && { credentials }), ...(globals !== undefined && { globals }) };
}

async function askCredential(exchange: Exchange | undefined, id: string): Promise<unknown> {
  if (exchange === undefined) throw new Error('there is nobody to ask for it');
  const body = await exchange.ask({ ask: 'credential', id });
  return typeof body === 'object' && body !== null ? { ...body } : {};
}

function stepEnd(event: EngineEvent, error?: OpenfnError): OpenfnEvent {
  const { state, threadId, mem, next } = event;
  return {
    event: 'step-end',
    at: microseconds(event['time']),
    step: String(event['jobId']),
    durationMs: Math.round(Number(event['duration'] ?? 0)),
    ...(typeof threadId === 'number' && { threadId }),
    ...(error === undefined && isMemory(mem) && { mem: { job: mem.job, system: mem.system } }),
    ...(state !== undefined && { state: state as Json }),
    next: Array.isArray(next) ? next.map(String) : [],
    withheld: event['redacted'] === true,
    ...(error !== undefined && { error }),
  };
}

function isMemory(value: unknown): value is { readonly job: number; readonly system: number } {
  return typeof value === 'object' && value !== null && 'job' in value && 'system' in value;
}

function logLine({ level, name, message, time }: EngineEvent): OpenfnEvent | undefined {
  const parts: unknown = typeof message === 'string' ? parseJson(message, VALUE_LIMITS) : message;
  const list = (Array.isArray(parts) ? parts : [parts]) as readonly Json[];
  // An empty console.log() carries no information.
  if (list.length === 0) return undefined;
  return { event: 'log', at: microseconds(time), level: String(level), source: String(name), message: list };
}

function readError(error: EngineEvent): OpenfnError {
  const text = (name: string) => (typeof error[name] === 'string' && error[name] !== '' ? { [name]: error[name] } : {});
  return { ...text('name'), ...text('type'), ...text('subtype'), ...text('severity'), message: String(error['message'] ?? '') };
}

/** Converts to microseconds: 16 digits for this century. */
function microseconds(nanoseconds: unknown): string {
  return String(BigInt(nanoseconds as bigint | string) / 1_000n);
}
