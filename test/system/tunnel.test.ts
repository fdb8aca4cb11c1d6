import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { Master, Worker } from '../../src/index.js';
import type { Job, Outcome } from '../../src/job/job.js';
import type { RunContext } from '../../src/job/runner.js';
import type { RunnerSetup } from '../../src/runners/setup.js';
import { openTunnelPort } from '../../src/runners/tunnel-port.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { Cable } from '../lab/cable.js';
import { Grid } from '../lab/grid.js';
import { LabRedis, requireRedis } from '../lab/redis.js';
import { requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

interface ProbeRun {
  readonly job: Job;
  readonly context: RunContext;
  end(outcome?: Outcome): void;
}

/** A runner whose jobs do whatever the test does with their context. */
class Probe {
  readonly #runs: ProbeRun[] = [];
  #waiting: ((run: ProbeRun) => void) | undefined;

  readonly setup: RunnerSetup = {
    kind: 'probe',
    required: true,
    open: async () => ({
      kind: 'probe',
      isolation: 'none',
      run: (job, context) =>
        new Promise<Outcome>((resolve) => {
          const end = (outcome: Outcome = { state: 'completed', output: null }) => resolve(outcome);
          context.signal.addEventListener('abort', () => end({ state: 'released', reason: 'stopped' }));
          const run = { job, context, end };
          if (this.#waiting === undefined) this.#runs.push(run);
          else this.#waiting(run);
        }),
      close: async () => {},
    }),
  };

  async next(): Promise<ProbeRun> {
    return (
      this.#runs.shift() ??
      new Promise((resolve) => {
        this.#waiting = (run) => {
          this.#waiting = undefined;
          resolve(run);
        };
      })
    );
  }
}

async function setUp(t: Test, redis: LabRedis, settings: object = { runner: 'probe', tunnel: 'redis' }) {
  const folder = t.testdir();
  const task = join(folder, 'task');
  mkdirSync(task);
  writeFileSync(join(task, 'task.json'), JSON.stringify(settings));
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const tunnels = { redis: `127.0.0.1:${redis.port}` };
  const master = new Master({ ...shared, task, ledger: 'memory:', leaseMs: 2_000, tunnels });
  t.teardown(() => master.close());
  const probe = new Probe();
  const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home'), concurrency: 2, runners: [probe.setup] });
  t.teardown(() => worker.close());
  await worker.ready;
  const run = async (): Promise<ProbeRun> => {
    await master.push({ data: null });
    return probe.next();
  };
  return { master, worker, run };
}

/** A client of the Redis behind the run's tunnel, connected through a port as programs do. */
async function clientOf(t: Test, { context }: ProbeRun, onError: (code: string) => void = () => {}) {
  if (context.tunnel === undefined) throw new Error('the run has no tunnel');
  const port = await openTunnelPort(context.tunnel, { onError: ({ code }) => onError(code) });
  t.teardown(() => port.close());
  const connect = (options: { readonly retry?: boolean } = {}) => {
    const client = new Redis({ host: port.host, port: port.port, retryStrategy: () => (options.retry === false ? null : 50) });
    client.on('error', () => {});
    t.teardown(() => client.disconnect());
    return client;
  };
  return { port, connect };
}

/** Number of clients of the server, except the one that asks. */
async function clientsOf(redis: Redis): Promise<number> {
  return (
    String(await redis.client('LIST'))
      .trim()
      .split('\n').length - 1
  );
}

t.test('a private Redis through a link', async (t) => {
  if (!requireRedis(t)) return;
  const redis = await LabRedis.start({ durable: false });
  t.teardown(() => redis.close());
  const direct = new Redis(redis.url);
  t.teardown(() => direct.disconnect());
  const { master, worker, run } = await setUp(t, redis);

  await t.test('commands, one by one and ten thousand in a row', async (t) => {
    const first = await run();
    const { connect } = await clientOf(t, first);
    const client = connect();
    t.equal(await client.set('key', 'value'), 'OK');
    t.equal(await client.get('key'), 'value');
    const pipeline = client.pipeline();
    for (let n = 0; n < 10_000; n++) pipeline.rpush('list', `element ${n}`);
    const answers = (await pipeline.exec()) ?? [];
    t.equal(answers.length, 10_000);
    t.ok(answers.every(([error, length], n) => error === null && length === n + 1));
    t.equal(await direct.lindex('list', 9_999), 'element 9999');
    first.end();
  });

  await t.test('20 MB each way, on several connections, while the lease is renewed as ever', async (t) => {
    const big = await run();
    const { connect } = await clientOf(t, big);
    const value = randomBytes(20_000_000);
    const hash = createHash('sha256').update(value).digest('hex');
    const leaseUntil = async () => (await master.get(big.job.id))?.leaseUntil ?? 0;
    const before = await leaseUntil();
    // At least two lease lengths, so that a lease without renewal would be lost.
    for (let round = 0; (await leaseUntil()) < before + 4_000; round++)
      await Promise.all(
        [connect(), connect()].map(async (client, index) => {
          await client.set(`big ${index}`, value);
          const back = await client.getBuffer(`big ${index}`);
          t.equal(back && createHash('sha256').update(back).digest('hex'), hash, `round ${round}`);
          client.disconnect();
        }),
      );
    t.notOk(big.context.signal.aborted, 'the lease was never lost');
    t.ok(worker.status().master, 'nor was the link');
    const stored = await direct.getBuffer('big 0');
    t.equal(stored && createHash('sha256').update(stored).digest('hex'), hash);
    t.ok(worker.status().traffic.sent > 40_000_000 && worker.status().traffic.received > 40_000_000, 'it went over the link');
    big.end();
  });

  await t.test('fifty connections at once', async (t) => {
    const many = await run();
    const { connect } = await clientOf(t, many);
    const clients = Array.from({ length: 50 }, () => connect());
    await Promise.all(clients.map((client) => client.ping()));
    t.equal(await clientsOf(direct), 50);
    const sums = await Promise.all(clients.flatMap((client) => Array.from({ length: 20 }, () => client.incr('counter'))));
    t.equal(Math.max(...sums), 1_000);
    t.equal(new Set(sums).size, 1_000);
    for (const client of clients) client.disconnect();
    await until(async () => (await clientsOf(direct)) === 0);
    many.end();
  });

  await t.test('what subscribes is told', async (t) => {
    const listening = await run();
    const { connect } = await clientOf(t, listening);
    const client = connect();
    const heard = new Promise((resolve) => client.on('message', (channel, text) => resolve([channel, text])));
    await client.subscribe('news');
    await direct.publish('news', 'hello');
    t.same(await heard, ['news', 'hello']);
    listening.end();
  });

  await t.test('a Redis that is restarted', async (t) => {
    const own = await LabRedis.start();
    t.teardown(() => own.close());
    const { run } = await setUp(t, own);
    const patient = await run();
    const codes: string[] = [];
    const { connect } = await clientOf(t, patient, (code) => codes.push(code));
    const client = connect();
    await client.set('kept', 1);
    await own.stop('kill');
    await until(() => codes.includes('tunnel-unreachable'));
    await own.startAgain();
    t.equal(await client.get('kept'), '1', 'the client connects again, over the same tunnel');
    patient.end();
  });

  await t.test('with the run its connections end', async (t) => {
    const settled = await run();
    const { connect } = await clientOf(t, settled);
    const client = connect({ retry: false });
    await client.ping();
    const gone = new Promise((resolve) => client.once('end', resolve));
    settled.end();
    await gone;
    await until(async () => (await clientsOf(direct)) === 0);
    await t.rejects(async () => settled.context.tunnel?.open(new AbortController().signal), { code: 'tunnel-lease-ended' });

    const cancelled = await run();
    const other = (await clientOf(t, cancelled)).connect({ retry: false });
    await other.ping();
    const ended = new Promise((resolve) => other.once('end', resolve));
    await master.cancel(cancelled.job.id);
    await ended;
    await until(async () => (await clientsOf(direct)) === 0);
  });

  await t.test('a job whose task names none has none', async (t) => {
    const { run } = await setUp(t, redis, { runner: 'probe' });
    const without = await run();
    t.equal(without.context.tunnel, undefined);
    without.end();
  });
});

const SPEAKS_REDIS = `
import { connect } from 'node:net';
import { once } from 'node:events';
export default async (data, { tunnel }) => {
  if (tunnel === undefined) return 'no tunnel';
  const socket = connect(tunnel);
  socket.write('ECHO ' + data + '\\r\\n');
  let text = '';
  for await (const bytes of socket) {
    text += bytes;
    if (text.endsWith('\\r\\n') && text.split('\\r\\n').length > 2) break;
  }
  socket.destroy();
  return text.split('\\r\\n')[1];
};
`;

t.test('task modules use it from the command line, and no log tells the address', async (t) => {
  if (!requireRedis(t)) return;
  const redis = await LabRedis.start({ durable: false });
  t.teardown(() => redis.close());
  const grid = new Grid();
  t.teardown(() => grid.close());
  const task = join(grid.folder, 'task');
  mkdirSync(task);
  writeFileSync(join(task, 'task.mjs'), SPEAKS_REDIS);
  writeFileSync(join(task, 'task.json'), '{ "runner": "task-module", "tunnel": "redis" }');
  writeFileSync(join(grid.folder, 'jobs.ndjson'), Array.from({ length: 20 }, (_, n) => `{"id":"${n}","data":"word-${n}"}\n`).join(''));
  await grid.tracker();
  const args = ['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson', '--ledger', 'memory:', '--log-level', 'debug'];
  const { program, token } = await grid.master([...args, '--tunnel', `redis=127.0.0.1:${redis.port}`]);
  const worker = grid.worker(token, 'anna', ['--log-level', 'debug', '--concurrency', '2']);
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  const outcomes = grid.outcomes('results.ndjson');
  t.equal(outcomes.length, 20);
  t.ok(
    outcomes.every(({ id, output }) => output === `word-${id}`),
    JSON.stringify(outcomes[0]),
  );
  t.match(program.text, /a tunnel was opened/);
  for (const { text } of [program, worker]) t.notMatch(text, String(redis.port));

  const refused = grid.start(['master', '--task', 'task', '--tunnel', 'redis=redis://:hush-hush@127.0.0.1:6379']);
  t.not((await refused.ended).code, 0);
  t.match(refused.text, /option-invalid/);
  t.notMatch(refused.text, /hush-hush/);
});

const KEEPS_OPEN = `
import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
const when = (socket, event) => new Promise((resolve) => socket.on(event, resolve));
async function ask(tunnel) {
  const socket = connect(tunnel).on('error', () => {});
  socket.write('PING\\r\\n');
  return { socket, answer: String(await Promise.race([when(socket, 'data'), when(socket, 'close').then(() => '')])) };
}
export default async (data, { tunnel, log }) => {
  const first = await ask(tunnel);
  log('first ' + first.answer);
  await when(first.socket.resume(), 'close');
  for (let refused = 0; ; refused++) {
    const { socket, answer } = await ask(tunnel);
    socket.destroy();
    if (answer !== '') return { answer, refused };
    await setTimeout(100);
  }
};
`;

t.test('a link that is cut: the connection ends, and the same run opens another', async (t) => {
  if (!requireRedis(t) || !requireTools(t, { ip: 'iproute2' }, { root: true })) return;
  const grid = new Grid();
  const cable = new Cable();
  const prefix = cable.inside('a');
  const port = 6_379;
  const [command = '', ...before] = prefix;
  // On the loopback of the Master's host, which only the Master can reach.
  const redis = spawn(command, [...before, 'redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', ''], {
    cwd: grid.folder,
    stdio: 'ignore',
  });
  t.teardown(async () => {
    await grid.close();
    redis.kill('SIGKILL');
    cable.close();
  });
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.mjs'), KEEPS_OPEN);
  writeFileSync(join(grid.folder, 'task', 'task.json'), '{ "runner": "task-module", "tunnel": "redis" }');
  writeFileSync(join(grid.folder, 'jobs.ndjson'), '{"id":"one","data":null,"attempts":1}\n');
  await grid.tracker(0, { prefix, host: cable.address('a') });
  const args = ['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson', '--ledger', 'memory:', '--log-level', 'info'];
  const { program, token } = await grid.master([...args, '--tunnel', `redis=127.0.0.1:${port}`], { prefix });
  const worker = grid.worker(token, 'far', [], { prefix: cable.inside('b') });
  await program.line(/first \+PONG/);
  cable.cut();
  await worker.line(/disconnected/);
  cable.mend();
  t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  const [outcome] = grid.outcomes('results.ndjson');
  t.match(outcome, { state: 'completed', output: { answer: '+PONG\r\n' }, attempts: 1 });
});
