import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { crewSource, openfnRunner, openfnSource, queueXecSource, Worker, WorqrProducer, worqrSource } from '../../src/index.js';
import { createLog } from '../../src/log.js';
import { dorySource } from '../../src/wires/dory/source/setup.js';
import { FakeApi } from '../wires/dory/source/fake-api.js';
import { shortTimes } from '../wires/dory/source/lab.js';
import { CrewServer } from './crew-server.js';
import { Grid } from './grid.js';
import { slowMaster, writeSlowJobs, writeSlowTask } from './jobs.js';
import { Lightning } from './lightning.js';
import { type Foreign, foreigners, KEY, TOKEN } from './queue-xec/foreign.js';
import { LabRedis } from './redis.js';

/** A server that hands out work. `kill` ends its process, or simulates that; `start` brings it back with its stored state. */
export interface LabServer {
  readonly source: string;
  /** How many of its jobs have completed, according to the server itself. */
  done(): Promise<number> | number;
  kill(): Promise<unknown>;
  start(): Promise<unknown>;
}

export interface SixSourcesOptions {
  /** Jobs per source; fewer for OpenFn, whose runs take about a second longer. */
  readonly jobs: number;
  /** Duration of a job in milliseconds; jobs alternate between half, once and twice as long. */
  readonly jobMs: number;
  /** Slots of the Worker. Default: one per source. */
  readonly places?: number;
}

/** A run that was claimed but not begun for this long is given to another worker, as Lightning does. */
const RUN_BACK_MS = 30_000;

/** By then a claimed run has its configuration. */
const CONFIG_MS = 2_000;

const TASK = `
import { setTimeout } from 'node:timers/promises';
export default async ({ ms, n }) => {
  await setTimeout(ms);
  return { n };
};
`;

/** One Worker with every kind of source, each with its own server and backlog. */
export class SixSources {
  readonly lines: string[] = [];
  readonly servers: LabServer[] = [];
  readonly expected = new Map<string, number>();
  readonly #t: Test;
  readonly #grid = new Grid();
  readonly #options: SixSourcesOptions;
  readonly #held = new Map<string, number>();
  readonly #heldMs = new Map<string, number>();
  #countedAt = performance.now();
  #sinceAt = performance.now();
  #token = '';
  worker!: Worker;

  private constructor(t: Test, options: SixSourcesOptions) {
    this.#t = t;
    this.#options = options;
    t.teardown(() => this.#grid.close());
  }

  /** Starts everything except the Worker. */
  static async start(t: Test, options: SixSourcesOptions): Promise<SixSources> {
    const lab = new SixSources(t, options);
    const { jobs, places } = options;
    mkdirSync(join(lab.#folder('code')), { recursive: true });
    writeFileSync(join(lab.#folder('code'), 'task.mjs'), TASK);
    await lab.#grid.tracker();
    const worqr = await lab.#worqr(jobs);
    const dory = await lab.#dory(jobs);
    const crew = await lab.#crew(jobs);
    const queueXec = await lab.#queueXec(jobs);
    const openfn = await lab.#openfn(Math.ceil((jobs * options.jobMs) / (options.jobMs + 1_000)));
    await lab.#master(jobs);
    lab.worker = new Worker({
      token: lab.#token,
      trackers: [lab.#grid.trackerUrl],
      ice: [],
      ...{ name: 'all', home: lab.#folder('home'), concurrency: places ?? lab.servers.length, sandbox: 'off' },
      log: createLog({ level: 'debug', write: (line) => lab.#keep(line) }),
      sources: [worqr, dory, crew, queueXec, openfn],
      runners: [
        openfnRunner({ installAdaptors: false }),
        {
          // Only the duration of a crawl matters here: its containers have tests of their own.
          kind: 'crawl',
          open: async () => ({
            kind: 'crawl',
            isolation: 'none, it is a test',
            run: async ({ id }) => {
              await new Promise((resolve) => setTimeout(resolve, lab.#jobMs(Number(/\d+/.exec(id)?.[0] ?? 0))));
              return { state: 'completed', output: { exitCode: 0, handled: 1, failed: 0, containers: [] } };
            },
            close: async () => {},
          }),
        },
      ],
    });
    t.teardown(() => lab.worker.close());
    lab.#countPlaces();
    return lab;
  }

  /** Also written to PEERWORK_TEST_ARTEFACTS. */
  #keep(line: string): void {
    this.lines.push(line);
    const folder = process.env['PEERWORK_TEST_ARTEFACTS'];
    if (folder) appendFileSync(join(folder, 'six-sources.log'), `${line}\n`);
  }

  /** Average number of slots per source since the last call. */
  places(): Map<string, number> {
    this.#count();
    const elapsedMs = this.#countedAt - this.#sinceAt;
    const places = new Map(this.servers.map(({ source }) => [source, (this.#heldMs.get(source) ?? 0) / elapsedMs]));
    this.#heldMs.clear();
    this.#sinceAt = this.#countedAt;
    return places;
  }

  /** How many jobs of each source have completed, according to the servers. */
  async done(): Promise<Map<string, number>> {
    return new Map(await Promise.all(this.servers.map(async ({ source, done }) => [source, await done()] as const)));
  }

  async isDone(): Promise<boolean> {
    return [...(await this.done())].every(([source, done]) => done >= (this.expected.get(source) ?? 0));
  }

  async state(): Promise<string> {
    return [...(await this.done())].map(([source, done]) => `${source} ${done}/${this.expected.get(source)}`).join(', ');
  }

  /** Checks that each line can be attributed to a source, and to only one. */
  checkLog(): void {
    const names = this.servers.map(({ source }) => source);
    const owners = (line: string) => names.filter((name) => line.includes(` source=${name}`));
    for (const name of names.filter((each) => each !== 'master'))
      this.#t.ok(
        this.lines.some((line) => owners(line).includes(name)),
        `${name} has lines of its own`,
      );
    this.#t.same(
      this.lines.filter((line) => owners(line).length > 1),
      [],
    );
    const ofJobs = this.lines.filter((line) => /\b(?:process|run|task|job)=/.test(line));
    this.#t.same(
      ofJobs.filter((line) => owners(line).length === 0 && !line.includes(' runner=')),
      [],
      'a line about a job says where it came from',
    );
  }

  #countPlaces(): void {
    const change = (source: string, by: number) => {
      this.#count();
      this.#held.set(source, (this.#held.get(source) ?? 0) + by);
    };
    this.worker.on('job', ({ source }) => change(source, 1));
    this.worker.on('result', ({ source }) => change(source, -1));
  }

  #count(): void {
    const now = performance.now();
    for (const [source, held] of this.#held) this.#heldMs.set(source, (this.#heldMs.get(source) ?? 0) + held * (now - this.#countedAt));
    this.#countedAt = now;
  }

  #jobMs(n: number): number {
    return this.#options.jobMs * ([0.5, 1, 2][n % 3] ?? 1);
  }

  #folder(name: string): string {
    return join(this.#grid.folder, name);
  }

  #add(server: LabServer, expected: number): void {
    this.servers.push(server);
    this.expected.set(server.source, expected);
  }

  async #master(jobs: number): Promise<void> {
    writeSlowTask(this.#grid.folder);
    writeSlowJobs(this.#grid.folder, jobs, (n) => this.#jobMs(n));
    let { program, token } = await this.#grid.master(slowMaster);
    this.#token = token;
    this.#add(
      {
        source: 'master',
        done: () => {
          try {
            return new Set(this.#grid.outcomes('results.ndjson').flatMap(({ id, state }) => (state === 'completed' ? [id] : []))).size;
          } catch {
            return 0;
          }
        },
        kill: () => program.stop('SIGKILL'),
        start: async () => {
          ({ program } = await this.#grid.master(slowMaster));
        },
      },
      jobs,
    );
  }

  async #worqr(jobs: number) {
    const redis = await LabRedis.start();
    const producer = new WorqrProducer({ url: redis.url });
    const client = new Redis(redis.url);
    client.on('error', () => {});
    this.#t.teardown(async () => {
      producer.close();
      client.disconnect();
      await redis.close();
    });
    await producer.enqueue('q', ...Array.from({ length: jobs }, (_, n) => ({ ms: this.#jobMs(n), n })));
    const left = async () => (await client.llen('worqr:queues:q')) + (await client.keys('worqr:processes:*')).length;
    // A task leaves Redis when it is finished, and only then.
    this.#add(
      {
        source: 'worqr',
        done: async () => jobs - (await left().catch(() => jobs)),
        kill: () => redis.stop('kill'),
        start: () => redis.startAgain(),
      },
      jobs,
    );
    return worqrSource({ url: redis.url, tasks: { q: this.#folder('code') } });
  }

  async #dory(jobs: number) {
    const redis = await LabRedis.start();
    let api = await FakeApi.start();
    const queue = new Queue('run-execution', { connection: { url: redis.url } });
    queue.on('error', () => {});
    this.#t.teardown(async () => {
      await queue.close();
      await api.close();
      await redis.close();
    });
    for (let n = 0; n < jobs; n += 1) {
      api.addRun(`run-${n}`);
      await queue.add('execute', { runId: `run-${n}` });
    }
    const { port, runs } = api;
    this.#add(
      {
        source: 'dory',
        done: () => [...api.runs.values()].filter(({ status }) => status === 'completed').length,
        // By dory's contract a run without configuration fails, so none is claimed while the API is down.
        kill: async () => {
          await redis.stop('kill');
          await new Promise((resolve) => setTimeout(resolve, CONFIG_MS));
          await api.close();
        },
        start: async () => {
          api = await FakeApi.start('127.0.0.1', port);
          for (const [id, run] of runs) api.runs.set(id, run);
          await redis.startAgain();
        },
      },
      jobs,
    );
    return dorySource({ apiBaseUrl: api.url, apiKey: 'dwk_a-key-for-tests', redisUrl: redis.url, workerId: 'all', timing: shortTimes });
  }

  async #crew(jobs: number) {
    const server = new CrewServer();
    await server.start();
    this.#t.teardown(() => server.stop());
    for (let n = 0; n < jobs; n += 1) server.add('c', { input: { ms: this.#jobMs(n), n } });
    const done = () => [...server.tasks.values()].filter(({ isComplete }) => isComplete).length;
    this.#add({ source: 'crew', done, kill: () => server.stop(), start: () => server.start() }, jobs);
    return crewSource({ url: server.url, tasks: { c: this.#folder('code') }, watchMs: 500, intervalMs: 500 });
  }

  async #queueXec(jobs: number) {
    const text = `module.exports = class Task {
      async run({ data }) {
        const { ms, n } = typeof data === 'string' ? JSON.parse(data) : data;
        await new Promise((resolve) => setTimeout(resolve, ms));
        return { n };
      }
    };`;
    const { start } = foreigners(this.#t);
    const plan = { files: [{ name: 'task.js', workerPath: '/workplace/task.js', text }] };
    const all = Array.from({ length: jobs }, (_, id) => ({ id, data: JSON.stringify({ ms: this.#jobMs(id), n: id }) }));
    const masters: Foreign[] = [await start('foreign-master.js', plan)];
    const { port } = masters[0] as Foreign;
    const results = () => new Set(masters.flatMap((master) => master.results.map(({ jobID }) => jobID)));
    masters[0]?.tell({ push: all });
    this.#add(
      {
        source: 'queue-xec',
        done: () => results().size,
        kill: async () => masters.at(-1)?.kill(),
        start: async () => {
          const master = await start('foreign-master.js', { ...plan, port });
          masters.push(master);
          // It has lost its state: the producer pushes again what is missing.
          master.tell({ push: all.filter(({ id }) => !results().has(id)) });
        },
      },
      jobs,
    );
    const peers = [{ host: '127.0.0.1', port }];
    return queueXecSource({ token: TOKEN, transferEncryptToken: KEY, listen: { host: '127.0.0.1' }, peers, lsd: false, dht: false });
  }

  async #openfn(runs: number) {
    const lightning = await new Lightning().start();
    const secret = 'the secret of both';
    const body = (n: number) => `export default [(s) => new Promise((resolve) => setTimeout(() => resolve(s), ${this.#jobMs(n)}))]`;
    const ids = Array.from({ length: runs }, (_, n) => lightning.enqueue({ jobs: [{ id: 'a', body: body(n) }] }));
    const taken = new Map<string, number>();
    const [begun, ended] = [new Set<string>(), new Set<string>()];
    let read = 0;
    // Each request once: there are tens of thousands in the end, and everything here shares one event loop with the Worker.
    const readOn = () => {
      for (const { topic, event, payload } of lightning.requests.slice(read)) {
        const id = topic.slice('run:'.length);
        if (event === 'phx_join') begun.add(id);
        if (event === 'run:complete' && payload['reason'] === 'success') ended.add(id);
      }
      read = lightning.requests.length;
    };
    const giveBack = setInterval(() => {
      readOn();
      for (const id of ids) {
        if (begun.has(id) || lightning.queue.includes(id)) taken.delete(id);
        else if (!taken.has(id)) taken.set(id, performance.now());
        else if (performance.now() - (taken.get(id) ?? 0) > RUN_BACK_MS) lightning.queue.push(id);
      }
    }, 1_000);
    this.#t.teardown(async () => {
      clearInterval(giveBack);
      await lightning.stop();
    });
    const done = () => {
      readOn();
      return ended.size;
    };
    this.#add({ source: 'openfn', done, kill: () => lightning.stop(), start: () => lightning.start() }, runs);
    return openfnSource({ url: lightning.url, secret, backoffMs: [100, 500] });
  }
}
