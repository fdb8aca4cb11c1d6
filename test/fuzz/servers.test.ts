import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse as parseDotenv } from 'dotenv';
import t, { type Test } from 'tap';
import { ApiClient } from '../../src/cli/client/api-client.js';
import { setVariables } from '../../src/cli/dotenv-file.js';
import { readJobLines } from '../../src/cli/job-lines.js';
import { readRecord } from '../../src/cli/service/record.js';
import { readSupervisorState } from '../../src/cli/service/supervisor-state.js';
import { systemClock } from '../../src/clock.js';
import { ImageRecord } from '../../src/containers/image-record.js';
import { MESSAGE_LIMITS } from '../../src/job/limits.js';
import { checked, reportArgs, shareResultsArgs } from '../../src/job/verbs.js';
import { parseJson } from '../../src/kit/json.js';
import type { Driver } from '../../src/ledger/driver.js';
import { Ledger } from '../../src/ledger/ledger.js';
import { migrate } from '../../src/ledger/migrate.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';
import { exportLines, importLines } from '../../src/ledger/transfer.js';
import { silentLog } from '../../src/log.js';
import { createApi } from '../../src/master/http/api.js';
import { readContainerJob } from '../../src/runners/container/settings.js';
import { readCrawlJob } from '../../src/runners/crawl/crawl-job.js';
import { enterResults, ResultBook } from '../../src/runners/crawl/results.js';
import { Outbox } from '../../src/sources/outbox.js';
import { loadOrCreateKeyFile } from '../../src/swarm/key-file.node.js';
import { listFolder } from '../../src/task/listing.js';
import { SeenVersions } from '../../src/task/seen-versions.js';
import { crewServer } from '../../src/wires/crew/server/crew.js';
import { CrewClient } from '../../src/wires/crew/source/client.js';
import { DoryApi } from '../../src/wires/dory/source/api.js';
import { readCredentials } from '../../src/wires/dory/source/credentials.js';
import { Journal } from '../../src/wires/dory/source/journal.js';
import { Backlog } from '../../src/wires/queue-xec/source/backlog.js';
import { openJobService } from '../lab/job-service.js';
import { type Door, type DoorInput, fuzz, INPUTS } from './doors.js';

const worker = { name: 'w' };
const worth = { id: 'http:w', name: 'w' };
const job = { id: 'a', data: { a: 1 }, channel: 'c', group: 'g', workgroup: 'wg', key: 'k', meta: { m: 1 } };
const outcome = { state: 'completed', output: { n: 1 }, children: [{ ref: 'r', data: 1 }], holdMs: 1 };
const report = { id: 'a', lease: 1, progress: { kind: 'progress', value: 0.5 } };
const crewTask = {
  name: 'n',
  channel: 'c',
  input: { a: 1 },
  priority: 1,
  isSeed: false,
  workgroup: 'w',
  key: 'k',
  remainingAttempts: 3,
  progressWeight: 1,
  runAfter: '2030-01-01',
};

/** The HTTP API and crew's routes, as they are served: whatever is sent, the answer is no accident. */
async function httpDoors(t: Test): Promise<Door[]> {
  const { service, ledger } = await openJobService(t);
  const { app } = await createApi({ service, serve: [crewServer()], requestsPer10s: 1e9 });
  t.teardown(() => app.close());
  await ledger.add([{ id: 'known', data: 1 }], systemClock.now());
  const send =
    (method: 'POST' | 'PUT' | 'PATCH', url: string, type = 'application/json') =>
    async ({ bytes }: DoorInput) => {
      const answer = await app.inject({ method, url, payload: bytes, headers: { 'content-type': type } });
      if (answer.statusCode >= 500 && (!url.startsWith('/crew/') || /unexpected/i.test(answer.body)))
        throw new Error(`${answer.statusCode} ${answer.body.slice(0, 300)}`);
      return answer.statusCode < 300 && !/"problem"/.test(answer.body) ? answer.statusCode : undefined;
    };
  const lines = `${JSON.stringify(job)}\n${JSON.stringify({ data: 2, id: 'b' })}\n`;
  return [
    { name: 'POST /v1/jobs', share: 2, samples: [job, [job, { data: 1, id: 'b', parents: ['a'] }]], enter: send('POST', '/v1/jobs') },
    { name: 'POST /v1/jobs, a line each', samples: [lines], enter: send('POST', '/v1/jobs', 'application/x-ndjson') },
    { name: 'PATCH /v1/jobs/:id', samples: [{ priority: 1, data: 2, name: 'x', runAt: 5 }], enter: send('PATCH', '/v1/jobs/known') },
    { name: 'POST /v1/leases', samples: [{ worker, channels: ['nothing'], labels: ['x'], limit: 1 }], enter: send('POST', '/v1/leases') },
    {
      name: 'POST /v1/leases/settle',
      samples: [{ worker, results: [{ id: 'a', lease: 1, outcome }] }],
      enter: send('POST', '/v1/leases/settle'),
    },
    // Who holds no lease has nothing to report.
    {
      name: 'POST /v1/leases/report',
      samples: [{ worker, reports: [report] }],
      enter: send('POST', '/v1/leases/report'),
      refusesAll: true,
    },
    { name: 'PUT /v1/groups/:id', samples: [{ name: 'n', meta: { a: 1 }, parentFailure: 'run' }], enter: send('PUT', '/v1/groups/g') },
    { name: 'PUT /v1/workgroups/:id', samples: [{ maxRunning: 1, rate: 2, periodMs: 5_000 }], enter: send('PUT', '/v1/workgroups/wg') },
    {
      name: 'PUT /v1/schedules/:id',
      samples: [{ cron: '0 0 1 1 *', timeZone: 'UTC', missed: 'once', job: { data: 1 } }],
      enter: send('PUT', '/v1/schedules/s'),
    },
    { name: 'crew: a group', samples: [{ name: 'n', isPaused: false }], enter: send('POST', '/crew/api/v1/task_groups') },
    { name: 'crew: a task', samples: [crewTask], enter: send('PUT', '/crew/api/v1/task/known') },
    { name: 'crew: acquire', samples: [{ workerId: 'w' }], enter: send('POST', '/crew/api/v1/channel/none/acquire') },
    {
      name: 'crew: release',
      refusesAll: true,
      samples: [{ workerId: 'w', output: { a: 1 }, children: [{ _child_id: 'x', channel: 'c', input: 1 }], workgroupDelayInSeconds: 1 }],
      enter: send('POST', '/crew/api/v1/task/known/release'),
    },
    {
      name: 'crew: operators',
      refusesAll: true,
      samples: [{ channel: 'c', url: 'http://127.0.0.1:1/x', requestConfig: { headers: { a: 'b' } } }],
      enter: send('PUT', '/crew/api/v1/operator/none'),
    },
    {
      name: 'outcomes of a Worker',
      samples: [{ results: [{ id: 'known', lease: 1, outcome, startedAt: 1, finishedAt: 2 }] }],
      enter: ({ text }) => service.settle(worth, checked(shareResultsArgs, parseJson(text, MESSAGE_LIMITS)).results),
    },
    {
      name: 'reports of a Worker',
      samples: [{ reports: [report, { id: 'a', lease: 1, progress: { kind: 'log', stream: 'log', line: 'x' } }] }],
      enter: ({ text }) => service.report(worth, checked(reportArgs, parseJson(text, MESSAGE_LIMITS)).reports) ?? 1,
    },
  ];
}

/** Servers that we ask: crew, a dory-api, a Master. */
function askedDoors(t: Test): Door[] {
  const { fetch } = globalThis;
  let body = Buffer.alloc(0);
  globalThis.fetch = async () => new Response(body, { headers: { 'content-type': 'application/json' } });
  t.teardown(() => {
    globalThis.fetch = fetch;
  });
  const crew = new CrewClient({ url: 'http://127.0.0.1:1/' }, Date.now);
  const dory = new DoryApi({ apiBaseUrl: 'http://127.0.0.1:1', label: undefined, key: () => 'k', refresh: () => false }, systemClock);
  const api = new ApiClient('http://127.0.0.1:1', undefined);
  const { signal } = new AbortController();
  const ask =
    (question: () => Promise<unknown>) =>
    async ({ bytes }: DoorInput) => {
      body = Buffer.from(bytes);
      return question();
    };
  return [
    {
      name: 'a crew server, asked for work',
      samples: [{ task: { _id: 't', channel: 'c', input: { a: 1 }, errors: [] }, parents: [{ _id: 'p', input: 1, output: 2 }] }],
      enter: ask(() => crew.acquire('c', 'w')),
    },
    {
      name: 'a crew server, asked for its tasks',
      samples: [[{ _id: 't', assignedTo: 'w', isComplete: false }]],
      enter: ask(async () => ((await crew.assigned('c', 'w')).length > 0 ? 1 : undefined)),
    },
    {
      name: 'a dory-api, asked for a run',
      samples: [{ actorConfig: { startUrls: [] }, dockerImage: 'x', containerCount: 1 }],
      enter: ask(() => dory.runConfig('r', signal)),
    },
    {
      name: 'a dory-api, asked for distributed runs',
      samples: [{ runs: [{ runId: 'r', participants: ['w'] }] }],
      enter: ask(() => dory.distributedRuns(signal)),
    },
    {
      name: 'a dory-api, told of us',
      samples: [{ cancelled: ['r'], settings: { maxRuns: 2 } }],
      enter: ask(async () => ((await dory.beat({}, signal)).cancelled.length > 0 ? 1 : undefined)),
    },
    { name: 'a Master, asked by the command line', samples: [{ jobs: [job] }], enter: ask(() => api.get('v1/jobs')) },
  ];
}

/** Files that others may have written. */
function fileDoors(t: Test): Door[] {
  const folder = t.testdir({ task: {}, record: {}, key: {}, seen: {}, crawl: {}, backlog: {}, outbox: {}, images: {} });
  const write = (path: string, bytes: Buffer) => {
    const file = join(folder, path);
    writeFileSync(file, bytes, { mode: 0o600 });
    chmodSync(file, 0o600);
    return file;
  };
  const written =
    (path: string, read: () => unknown) =>
    ({ bytes }: DoorInput) => {
      write(path, bytes);
      return read();
    };
  const workplace = { digest: 'd', folder: join(folder, 'task'), entry: 'task.json', readable: [] };
  const given = { id: 'j', channel: 'c', data: null, attempt: 1, timeoutMs: 0 };
  const ceilings = { memoryMb: 512, diskMb: 512, cpus: 2, pids: 256 };
  const seed = Buffer.alloc(32, 1).toString('base64url');
  let opened = 0;
  return [
    {
      name: 'task.json',
      samples: [{ runner: 'container', image: 'x', tunnel: 'redis' }],
      enter: async ({ bytes }) => listFolder(join(write('task/task.json', bytes), '..')),
    },
    {
      name: 'task.json of a container',
      samples: [
        {
          runner: 'container',
          image: 'x',
          command: ['a'],
          env: { A: '1' },
          files: [{ pattern: '*' }],
          limits: { cpus: 1 },
          network: ['a:1'],
        },
      ],
      enter: written('task/task.json', () => readContainerJob(given, workplace, ceilings as never)),
    },
    {
      name: 'data of a container job',
      samples: [{ image: 'x', args: ['a'], env: { A: 1 }, limits: { memoryMb: 5 }, input: { a: 1 } }],
      enter: ({ text }) => readContainerJob({ ...given, data: parseJson(text, MESSAGE_LIMITS) as never }, undefined, ceilings as never),
    },
    {
      name: 'data of a crawl',
      samples: [{ runId: 'r', containers: 1, actor: { startUrls: ['https://example.org/'] } }],
      enter: ({ text }) => readCrawlJob({ ...given, data: parseJson(text, MESSAGE_LIMITS) as never }, undefined, false),
    },
    {
      name: 'results of a crawl',
      samples: [`${JSON.stringify({ requestId: 'a', url: 'u', data: { t: 1 } })}\n`],
      enter: written('crawl/a.ndjson', async () => {
        const book = new ResultBook(1024 * 1024);
        await enterResults(join(folder, 'crawl'), book, 1024 * 1024);
        return book.results[0];
      }),
    },
    {
      name: 'a key file',
      refusesAll: true,
      samples: [{ publicKey: seed, privateKey: seed, secret: seed }],
      enter: ({ bytes }) => loadOrCreateKeyFile(write('key/key.json', bytes)),
    },
    {
      name: 'credentials',
      samples: [{ apiBaseUrl: 'http://x', apiKey: 'secretsecret', label: 'l' }],
      enter: ({ bytes }) => readCredentials(write('credentials', bytes)),
    },
    {
      name: 'runs of dory',
      samples: [[{ runId: 'r', role: 'coordinator', workerId: 'w', jobId: 'j', token: 't' }]],
      enter: written('runs.json', async () => (await Journal.open(folder, silentLog)).all()[0]),
    },
    {
      name: 'a backlog',
      samples: [{ sealed: 'x', attempt: 1 }],
      enter: written('backlog/1.job', async () => (await Backlog.open(join(folder, 'backlog'), 1, silentLog)).size > 0 || undefined),
    },
    {
      name: 'versions seen',
      samples: [{ 'p c': [{ version: 2, digest: 'a'.repeat(64), at: 5 }] }],
      enter: async ({ bytes }) =>
        new SeenVersions(write('seen/seen.json', bytes), systemClock).admit('p', 'c', 1, 'b'.repeat(64)).then(() => 1),
    },
    {
      name: 'images pulled',
      samples: [[{ image: 'x', bytes: 5, usedAt: 1 }]],
      enter: written('images/images.json', async () => (await ImageRecord.open(join(folder, 'images'))).surplus(1)[0]),
    },
    {
      name: 'a service',
      samples: [{ name: 'n', keeper: 'background', home: '/h', folder: '/f', dotenv: '/d', drainMs: 1, env: { A: 'b' }, installedAt: 1 }],
      enter: written('record/service.json', () => readRecord(join(folder, 'record'))),
    },
    {
      name: 'a supervisor',
      samples: [{ supervisor: { pid: 1, mark: 'm' }, restarts: 0, lastEnd: 'SIGKILL' }],
      enter: written(
        'record/supervisor.json',
        async () => (await readSupervisorState(join(folder, 'record'))) ?? (opened++ % 2 === 0 ? 1 : undefined),
      ),
    },
    {
      name: 'an outbox',
      samples: ['\u0000\u0000\u0000\u0020aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'],
      enter: async ({ bytes, random }) => {
        const place = join(folder, 'outbox', String(opened++ % 8));
        mkdirSync(place, { recursive: true });
        writeFileSync(join(place, '1.outbox'), bytes);
        const outbox = await Outbox.open({ folder: place, key: Buffer.alloc(32, 1), clock: systemClock, log: silentLog });
        await outbox.close();
        return random.below(2) === 0 ? 1 : undefined;
      },
    },
    {
      name: 'a .env',
      samples: ['A=1\nB="x y"\n# c\nexport C=\'d\'\n'],
      enter: ({ text }) => (Object.keys(parseDotenv(setVariables(text, { A: 'new', Z: undefined }))).length > 1 ? 1 : undefined),
    },
    {
      name: 'lines of jobs',
      samples: [`${JSON.stringify(job)}\n${JSON.stringify({ data: 1 })}\n`],
      enter: async ({ bytes }) => {
        let jobs = 0;
        for await (const line of readJobLines(
          (async function* () {
            yield bytes.subarray(0, 7);
            yield bytes.subarray(7);
          })(),
        ))
          if ('job' in line) jobs += 1;
        return jobs || undefined;
      },
    },
  ];
}

async function ledgerDoor(t: Test): Promise<Door> {
  const source = new SqliteDriver(':memory:');
  await migrate(source);
  const from = new Ledger(source, { random: () => 0 }, 0);
  await from.add(
    [
      { id: 'p', data: { n: 1 }, group: 'g' },
      { id: 'c', data: 2, parents: ['p'], meta: [1] },
    ],
    1,
  );
  await from.putSchedule({ id: 's', cron: '0 0 1 1 *', job: { data: 1 } }, 1);
  const lines: string[] = [];
  for await (const line of exportLines(source)) lines.push(line);
  await from.close();
  let driver: Driver | undefined;
  t.teardown(() => driver?.close());
  return {
    name: 'an export of a ledger',
    samples: lines as [string, ...string[]],
    async enter({ text, random }) {
      if (driver === undefined) {
        driver = new SqliteDriver(':memory:');
        await migrate(driver);
      }
      const at = random.below(lines.length);
      const imported = await importLines(
        driver,
        (async function* () {
          for (const [index, line] of lines.entries()) yield index === at ? text : line;
        })(),
      );
      await driver.close();
      driver = undefined;
      return imported;
    },
  };
}

t.test('servers, files and an import', async (t) =>
  fuzz(t, [...(await httpDoors(t)), ...askedDoors(t), ...fileDoors(t), await ledgerDoor(t)], Math.round(INPUTS * 0.08)),
);
