import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { until } from '../../../lab/until.js';

export interface FakeRun {
  config: { [field: string]: unknown };
  /** Every status that was posted. */
  readonly statuses: { readonly [field: string]: unknown }[];
  /** `queued`, or the last status that counts: the first one that ends a run wins. */
  status: string;
  exitCode: number | undefined;
  coordinatorWorkerId: string | undefined;
  readonly participants: Set<string>;
  readonly exits: { readonly workerId: string; readonly exitCode: number }[];
  /** By request id, with the number of deliveries. */
  readonly results: Map<string, { readonly item: { readonly [field: string]: unknown }; times: number }>;
}

export interface ApiCall {
  readonly at: number;
  readonly method: string;
  readonly path: string;
  readonly key: string | undefined;
  readonly body: { readonly [field: string]: unknown };
  status: number;
}

interface Fault {
  readonly matches: RegExp;
  /** An HTTP status, or no reply at all. */
  readonly answer: number | 'hang' | 'drop';
  times: number;
}

const ENDED = new Set(['completed', 'failed']);

/** A dory-api that follows the contract, including keys, login and heartbeats, with runs and faults that tests add. */
export class FakeApi {
  readonly calls: ApiCall[] = [];
  readonly runs = new Map<string, FakeRun>();
  readonly beats = new Map<string, { readonly at: number; readonly body: { readonly [field: string]: unknown } }>();
  readonly keys = new Set(['dwk_a-key-for-tests']);
  readonly users = new Map([['ada', 'correct horse']]);
  /** Sent with the reply to every heartbeat. */
  config: { [field: string]: unknown } | undefined;
  configVersion = 1;
  cancelled: string[] = [];
  /** Whether participants are reported by id only, without the time of their last heartbeat. */
  idsOnly = false;
  /** Whether a run's configuration includes its status. */
  includesStatus = true;
  /** Limit for the helpers of a run. */
  maxHelpers = 10;
  readonly #faults: Fault[] = [];
  readonly #server: Server;
  readonly #hanging = new Set<ServerResponse>();

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(host = '127.0.0.1', port = 0): Promise<FakeApi> {
    const api = new FakeApi();
    api.#server.listen(port, host);
    await once(api.#server, 'listening');
    return api;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  addRun(runId: string, config: { readonly [field: string]: unknown } = {}): FakeRun {
    const run: FakeRun = {
      config: { actorConfig: { startUrls: ['http://localhost/'] }, dockerImage: 'an-image:1', ...config },
      status: 'queued',
      statuses: [],
      exitCode: undefined,
      coordinatorWorkerId: undefined,
      participants: new Set(),
      exits: [],
      results: new Map(),
    };
    this.runs.set(runId, run);
    return run;
  }

  /** Sets the reply to the next calls whose `METHOD path` matches. */
  fault(matches: RegExp, answer: Fault['answer'], times = Number.POSITIVE_INFINITY): void {
    this.#faults.push({ matches, answer, times });
  }

  heal(): void {
    this.#faults.length = 0;
  }

  /** Returns the calls whose `METHOD path` matches. */
  callsOf(matches: RegExp): ApiCall[] {
    return this.calls.filter(({ method, path }) => matches.test(`${method} ${path}`));
  }

  /** Waits for a condition; on timeout reports the last calls. */
  async until<T>(met: () => T | undefined | false, what = 'what the test waits for'): Promise<T> {
    let found: T | undefined | false;
    const isMet = () => {
      found = met();
      return found !== undefined && found !== false;
    };
    await until(isMet, 10, () => `${what}; last calls: ${this.#describe()}`);
    return found as T;
  }

  async close(): Promise<void> {
    for (const response of this.#hanging) response.destroy();
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = (text === '' ? {} : JSON.parse(text)) as ApiCall['body'];
    const { method = '', url = '' } = request;
    const key = request.headers['x-api-key'] as string | undefined;
    const call: ApiCall = { at: Date.now(), method, path: url, key, body, status: 0 };
    this.calls.push(call);
    const fault = this.#faults.find(({ matches, times }) => times > 0 && matches.test(`${method} ${url}`));
    if (fault !== undefined) fault.times -= 1;
    if (fault?.answer === 'drop') request.socket.destroy();
    else if (fault?.answer === 'hang') this.#hanging.add(response);
    else {
      const [status, answer] =
        fault === undefined ? this.#answer(call, request.headers.authorization) : [fault.answer, { error: 'wished for' }];
      call.status = status;
      response
        .writeHead(status, { 'content-type': 'application/json', ...(status === 302 && { location: '/elsewhere' }) })
        .end(JSON.stringify(answer));
    }
  }

  #answer({ method, path, key, body }: ApiCall, authorization = ''): [number, unknown] {
    const route = `${method} ${path}`;
    if (route === 'POST /api/auth/login') {
      const known = this.users.get(String(body['username'])) === body['password'];
      return known ? [200, { token: 'a-session-token' }] : [401, { error: 'no such user' }];
    }
    if (route === 'POST /api/worker-keys') {
      if (authorization !== 'Bearer a-session-token') return [401, {}];
      const minted = `dwk_minted-${this.keys.size}-0123456789`;
      this.keys.add(minted);
      return [201, { id: 'k1', key: minted, label: body['label'] }];
    }
    if (key === undefined || !this.keys.has(key)) return [401, { error: 'this key is not valid' }];
    if (route === 'POST /api/workers/heartbeat') return this.#beat(body);
    if (route === 'GET /api/runs/active/distributed') return [200, this.#distributed()];
    const [, id = '', verb = ''] = /^\/api\/runs\/([^/]+)\/(\w+)$/.exec(path) ?? [];
    const run = this.runs.get(decodeURIComponent(id));
    if (run === undefined) return [404, { error: 'no such run' }];
    return this.#ofRun(run, `${method} ${verb}`, body);
  }

  #ofRun(run: FakeRun, route: string, body: ApiCall['body']): [number, unknown] {
    const workerId = String(body['workerId']);
    switch (route) {
      case 'GET config':
        return [200, { ...run.config, ...(this.includesStatus && { status: run.status }) }];
      case 'POST status': {
        run.statuses.push(body);
        if (ENDED.has(run.status)) return body['status'] === 'running' ? [409, { error: 'the run is over' }] : [200, { ignored: true }];
        run.status = String(body['status']);
        if (typeof body['exitCode'] === 'number') run.exitCode = body['exitCode'];
        if (typeof body['coordinatorWorkerId'] === 'string') run.coordinatorWorkerId = body['coordinatorWorkerId'];
        return [200, { ok: true }];
      }
      case 'POST join':
        if (run.status !== 'running' || run.participants.size >= this.maxHelpers) return [409, { error: 'closed' }];
        run.participants.add(workerId);
        return [200, { ok: true }];
      case 'POST leave':
        if (run.participants.delete(workerId)) run.exits.push({ workerId, exitCode: Number(body['exitCode']) });
        return [200, { ok: true }];
      case 'POST results': {
        for (const item of Array.isArray(body) ? body : []) {
          const known = run.results.get(item.requestId);
          if (known === undefined) run.results.set(item.requestId, { item, times: 1 });
          else known.times += 1;
        }
        return [200, { ok: true }];
      }
      default:
        return [404, { error: 'no such route' }];
    }
  }

  #beat(body: ApiCall['body']): [number, unknown] {
    this.beats.set(String(body['workerId']), { at: Date.now(), body });
    return [
      200,
      { ...(this.config !== undefined && { config: this.config, configVersion: this.configVersion }), cancelled: this.cancelled },
    ];
  }

  #distributed(): unknown {
    return [...this.runs]
      .filter(([, run]) => run.status === 'running' && run.coordinatorWorkerId !== undefined)
      .map(([runId, { coordinatorWorkerId, participants, exits, config }]) => ({
        runId,
        coordinatorWorkerId,
        participants: [...participants].map((workerId) =>
          this.idsOnly ? workerId : { workerId, heartbeatAt: new Date(this.beats.get(workerId)?.at ?? 0).toISOString() },
        ),
        containerCount: config['containerCount'],
        exits,
      }));
  }

  #describe(): string {
    return this.calls
      .slice(-12)
      .map(({ method, path, status }) => `${method} ${path} ${status}`)
      .join(', ');
  }
}
