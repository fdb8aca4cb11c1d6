import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Master, PeerworkError, type RunnerSetup, type Source, type SourceSetup, Worker } from '../../src/index.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { until } from '../lab/until.js';

/** A Master with a JavaScript task and one for the runner `slow`. */
async function setUp(t: Test) {
  const folder = t.testdir();
  const tasks = { code: join(folder, 'code'), slow: join(folder, 'slow') };
  for (const task of Object.values(tasks)) mkdirSync(task);
  writeFileSync(join(tasks.code, 'task.mjs'), 'export default (data) => data;');
  writeFileSync(join(tasks.slow, 'task.json'), JSON.stringify({ runner: 'slow' }));
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task: tasks, ledger: 'memory:' });
  t.teardown(() => master.close());
  const start = (options: Partial<ConstructorParameters<typeof Worker>[0] & object>) => {
    const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home'), concurrency: 2, ...options });
    t.teardown(() => worker.close());
    return worker;
  };

  const outcomeOf = (id: string) => until(async () => (await master.get(id))?.state === 'completed');
  return { folder, master, start, outcomeOf };
}

/** A runner that keeps opening until the test releases it. */
function slowRunner(required = false) {
  let go: (error?: Error) => void = () => {};
  const opening = new Promise<void>((resolve, reject) => {
    go = (error) => (error === undefined ? resolve() : reject(error));
  });
  let closed = 0;
  const setup: RunnerSetup = {
    kind: 'slow',
    required,
    open: async () => {
      await opening;
      return {
        kind: 'slow',
        isolation: 'none',
        tier: 'container',
        run: async () => ({ state: 'completed', output: 'slow' }),
        close: async () => {
          closed += 1;
        },
      };
    },
  };
  return { setup, go: (error?: Error) => go(error), closed: () => closed };
}

t.test('a runner that takes long to open holds up no job of another, and gets its own when it is there', async (t) => {
  const { master, start, outcomeOf } = await setUp(t);
  const slow = slowRunner();
  const worker = start({ runners: [slow.setup] });
  const waiting = await master.push({ channel: 'slow', data: 1 });
  const first = await master.push({ channel: 'code', data: 1 });
  await worker.ready;
  await outcomeOf(first);
  t.same(
    worker.status().runners.map(({ kind }) => kind),
    ['task-module'],
  );
  t.same(master.workers()[0]?.runners, ['task-module']);
  t.match(await master.get(waiting), { state: 'ready' });
  slow.go();
  await outcomeOf(waiting);
  t.same(master.workers()[0]?.runners, ['task-module', 'slow'], 'the Master has heard of it');
  t.ok(master.workers()[0]?.labels?.includes('isolation=container'));
  await worker.close();
  t.equal(slow.closed(), 1);
});

t.test('a runner that is there before that of task modules hides it from nobody', async (t) => {
  const { master, start, outcomeOf } = await setUp(t);
  const slow = slowRunner();
  slow.go();
  const worker = start({ runners: [slow.setup] });
  await Promise.all(
    [master.push({ channel: 'slow', data: 1 }), master.push({ channel: 'code', data: 1 })].map(async (id) => outcomeOf(await id)),
  );
  t.same([...(master.workers()[0]?.runners ?? [])].sort(), ['slow', 'task-module']);
  await worker.close();
});

t.test('a Worker whose demanded runner cannot be opened works until that is known, and then ends', async (t) => {
  const { master, start, outcomeOf } = await setUp(t);
  const slow = slowRunner(true);
  const worker = start({ runners: [slow.setup] });
  const errors: PeerworkError[] = [];
  worker.on('error', (error) => errors.push(error));
  await outcomeOf(await master.push({ channel: 'code', data: 1 }));
  slow.go(new PeerworkError('runner-missing', 'slow'));
  await t.rejects(worker.ready, { code: 'runner-missing' });
  t.match(errors, [{ code: 'runner-missing' }]);
  await until(() => master.workers().length === 0);
});

t.test('a Worker that is closed while a runner is being opened closes that one too', async (t) => {
  const { start } = await setUp(t);
  const slow = slowRunner();
  const worker = start({ runners: [slow.setup] });
  await worker.ready;
  const closing = worker.close();
  slow.go();
  await closing;
  t.equal(slow.closed(), 1);
});

t.test('a source that takes long to open holds up no other, and may wait for a runner that it needs', async (t) => {
  const { master, start, outcomeOf } = await setUp(t);
  const slow = slowRunner();
  let seen: readonly string[] | undefined;
  let settled: unknown;
  const late: SourceSetup = {
    name: 'late',
    needs: ['slow'],
    open: async ({ runners }): Promise<Source> => {
      seen = runners;
      let left = 1;
      return {
        name: 'late',
        claim: async (_capacity, signal) => {
          if (left-- <= 0) await new Promise((resolve) => signal.addEventListener('abort', resolve));
          if (signal.aborted) return [];
          const job = { id: 'x', channel: 'x', data: null, attempt: 1, timeoutMs: 0 };
          const settle = async (outcome: unknown) => {
            settled = outcome;
          };
          return [{ job, runner: 'slow', signal: new AbortController().signal, report: () => {}, settle }];
        },
        flush: async () => {},
        close: async () => {},
      };
    },
  };
  const worker = start({ runners: [slow.setup], sources: [late] });
  await outcomeOf(await master.push({ channel: 'code', data: 1 }));
  t.equal(seen, undefined, 'it is not opened yet');
  slow.go();
  await worker.ready;
  t.same(seen, ['task-module', 'slow']);
  await until(() => settled !== undefined);
  t.match(settled, { state: 'completed', output: 'slow' });
});
