import * as v from 'valibot';
import type { Clock } from '../../../clock.js';
import { PeerworkError } from '../../../errors.js';
import { DEFAULT_HEARTBEAT_PATH } from '../defaults.js';
import { DoryError } from '../errors.js';
import { type ApiResponse, callApi } from './api-call.js';
import type { ApiAccess } from './credentials.js';
import {
  type DistributedRun,
  distributedRuns,
  type HeartbeatReply,
  heartbeatReply,
  keyReply,
  loginReply,
  type RunConfig,
  runConfig,
} from './shapes.js';

const CALL_MS = 10_000;
const BEAT_MS = 5_000;
/** About a second in total: a run whose configuration is unavailable should fail soon. */
const CONFIG_TRIES = 3;
/** About 25 seconds in total; what is not delivered by then is retried with each heartbeat. */
const REPORT_TRIES = 8;

export type StatusReport =
  | { readonly status: 'running'; readonly coordinatorWorkerId?: string }
  | {
      readonly status: 'completed' | 'failed';
      readonly exitCode: number;
      readonly error?: string | undefined;
      readonly log?: string | undefined;
      readonly fallback?: true;
    };

/** The API calls of a Worker. Errors are those of `callApi`; every call carries the key. */
export class DoryApi {
  readonly #access: ApiAccess;
  readonly #clock: Clock;
  readonly #heartbeatPath: string;

  constructor(access: ApiAccess, clock: Clock, heartbeatPath: string = DEFAULT_HEARTBEAT_PATH) {
    this.#access = access;
    this.#clock = clock;
    this.#heartbeatPath = heartbeatPath;
  }

  /** What containers need in order to call the API themselves. */
  get access(): { readonly baseUrl: string; readonly key: string } {
    return { baseUrl: this.#access.apiBaseUrl, key: this.#access.key() };
  }

  /** `gone`: the run has ended or was deleted. */
  async runConfig(runId: string, signal: AbortSignal): Promise<RunConfig | 'gone'> {
    const { status, body } = await this.#call('GET', pathOf(runId, 'config'), { tries: CONFIG_TRIES, signal });
    if (status === 409 || status === 410) return 'gone';
    if (status === 404) throw new DoryError('dory-run-invalid', `the API knows no run ${runId}`);
    return parseBody(runConfig, body, 'dory-run-invalid', `config of ${runId}`);
  }

  /** `ended`: the API considers the run ended already. */
  async postStatus(
    runId: string,
    report: StatusReport,
    options: { tries?: number; signal?: AbortSignal } = {},
  ): Promise<'noted' | 'ended'> {
    const { status } = await this.#call('POST', pathOf(runId, 'status'), { tries: REPORT_TRIES, ...options, body: report });
    return status < 300 ? 'noted' : 'ended';
  }

  async distributedRuns(signal: AbortSignal): Promise<readonly DistributedRun[]> {
    const { status, body } = await this.#call('GET', '/api/runs/active/distributed', { tries: 1, signal });
    return status < 300 ? parseBody(distributedRuns, body, 'dory-api-failed', 'the list of distributed runs') : [];
  }

  /** Resolves with false if the run is closed, full, finished or gone. */
  async join(runId: string, workerId: string, containerCount: number, signal: AbortSignal): Promise<boolean> {
    const { status } = await this.#call('POST', pathOf(runId, 'join'), { tries: 1, signal, body: { workerId, containerCount } });
    return status < 300;
  }

  async leave(runId: string, workerId: string, exitCode: number, options: { tries?: number; signal?: AbortSignal } = {}): Promise<void> {
    await this.#call('POST', pathOf(runId, 'leave'), { tries: REPORT_TRIES, ...options, body: { workerId, exitCode } });
  }

  async beat(facts: object, signal?: AbortSignal): Promise<HeartbeatReply> {
    const { body } = await this.#call('POST', this.#heartbeatPath, { tries: 1, timeoutMs: BEAT_MS, signal, body: facts });
    return v.parse(v.fallback(heartbeatReply, { cancelled: [] }), body);
  }

  #call(
    method: 'GET' | 'POST',
    path: string,
    options: { tries: number; timeoutMs?: number; signal?: AbortSignal | undefined; body?: object },
  ): Promise<ApiResponse> {
    const headers = { 'x-api-key': this.#access.key() };
    return callApi(this.#clock, { timeoutMs: CALL_MS, ...options, method, url: `${this.#access.apiBaseUrl}${path}`, headers });
  }
}

/** Requests a key for this Worker. Rejects with `dory-login-refused` or `dory-api-…`. */
export async function mintKey(
  clock: Clock,
  apiBaseUrl: string,
  user: { readonly username: string; readonly password: string; readonly label: string },
): Promise<string> {
  const { username, password, label } = user;
  const post = async (path: string, body: object, headers: Record<string, string>) => {
    try {
      const response = await callApi(clock, { method: 'POST', url: `${apiBaseUrl}${path}`, headers, body, timeoutMs: CALL_MS, tries: 1 });
      if (response.status < 300) return response.body;
      throw new DoryError('dory-api-failed', `POST ${path} responded ${response.status}`);
    } catch (thrown) {
      if (thrown instanceof PeerworkError && thrown.code === 'dory-key-refused') throw new DoryError('dory-login-refused', thrown.detail);
      throw thrown;
    }
  };
  const login = await post('/api/auth/login', { username, password }, {});
  const { token } = parseBody(loginReply, login, 'dory-api-failed', 'the response to the login');
  const minted = await post('/api/worker-keys', { label }, { authorization: `Bearer ${token}` });
  return parseBody(keyReply, minted, 'dory-api-failed', 'the response with the key').key;
}

function pathOf(runId: string, verb: string): string {
  return `/api/runs/${encodeURIComponent(runId)}/${verb}`;
}

function parseBody<const S extends v.GenericSchema>(schema: S, body: unknown, code: 'dory-run-invalid' | 'dory-api-failed', what: string) {
  const result = v.safeParse(schema, body, { abortEarly: true });
  if (result.success) return result.output;
  throw new DoryError(code, `${what}: ${v.getDotPath(result.issues[0]) ?? 'the value'}: ${result.issues[0].message}`);
}
