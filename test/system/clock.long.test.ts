import { readdirSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { JobRecord } from '../../src/ledger/ledger.js';
import { freePort } from '../lab/free-port.js';
import { Grid, type Program } from '../lab/grid.js';
import { writeSlowTask } from '../lab/jobs.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { requireThat } from '../lab/require.js';
import { shiftedClock } from '../lab/shifted-clock.js';
import { until } from '../lab/until.js';

const HOUR = 3_600_000;
const LEASE_MS = 3_000;
const DELAY_MS = 8_000;

/** A Master that is queried over HTTP, with short leases. */
async function startMaster(grid: Grid, env: Readonly<Record<string, string>>, args: readonly string[] = []) {
  const port = await freePort();
  const { program, token } = await grid.master(['--task', 'task', '--lease-ms', String(LEASE_MS), '--http', `127.0.0.1:${port}`, ...args], {
    env,
  });
  const ask = async (path: string, body?: unknown) => {
    const sent = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    return (await fetch(`http://127.0.0.1:${port}/v1${path}`, sent)).json();
  };
  const job = (id: string) => ask(`/jobs/${encodeURIComponent(id)}`) as Promise<JobRecord>;
  const reaches = (id: string, state: string) => until(async () => (await job(id)).state === state, 100);
  return { program, token, ask, job, reaches };
}

function newGrid(t: Test): Grid {
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  return grid;
}

for (const [way, shiftMs] of [
  ['back two hours', -2 * HOUR],
  ['an hour ahead', HOUR],
] as const)
  t.test(`the clocks of Master and Worker are set ${way}: what was to last lasts as long`, async (t) => {
    const grid = newGrid(t);
    await grid.tracker();
    const { program, token, ask, job, reaches } = await startMaster(grid, shiftedClock(grid.folder, shiftMs), [
      '--ledger',
      'sqlite:ledger.db',
    ]);
    const victim = grid.worker(token, 'victim', ['--concurrency', '1']);
    await ask('/jobs', { id: 'lost', data: { ms: 25_000, n: 1 }, attempts: 2 });
    await reaches('lost', 'leased');
    // The program that should receive the signal must be loaded first.
    const other = grid.worker(token, 'other', ['--concurrency', '1'], { env: shiftedClock(grid.folder, -shiftMs) });
    await ask('/jobs', { id: 'busy', data: { ms: 15_000, n: 0 }, attempts: 1 });
    await reaches('busy', 'leased');
    victim.signal('SIGKILL');
    const pushedAt = performance.now();
    await ask('/jobs', { id: 'delayed', data: { ms: 1, n: 2 }, delayMs: DELAY_MS });
    program.signal('SIGUSR2');
    other.signal('SIGUSR2');

    await reaches('delayed', 'completed');
    t.ok(performance.now() - pushedAt >= DELAY_MS, 'not early');
    await reaches('lost', 'completed');
    await reaches('busy', 'completed');
    t.match(await job('busy'), { attempts: { made: 1 }, lease: 1 }, 'the lease of a Worker that lives is never lost');
    t.match(await job('lost'), { attempts: { made: 2 } }, 'that of one that died ends');
    for (const id of ['busy', 'lost', 'delayed']) {
      const { startedAt = 0, finishedAt = 0 } = await job(id);
      t.ok(finishedAt >= startedAt, `${id} does not end before it begins`);
      t.ok(Math.abs(finishedAt - Date.now() - shiftMs) < HOUR / 2, 'by the clock as it is now');
    }

    // A run whose Worker is gone delays the end no longer than its lease.
    await ask('/jobs', { id: 'last', data: { ms: 60_000, n: 3 } });
    await reaches('last', 'leased');
    other.signal('SIGKILL');
    program.signal('SIGUSR2');
    await program.stop('SIGTERM');
    t.equal((await program.ended).code, 0, program.text.slice(-1_000));
  });

/** Signals a process and everything it has started: what stops when a machine is suspended. */
function signalTree(program: Program, signal: NodeJS.Signals): void {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    try {
      const parent = Number(/^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // It has ended meanwhile.
    }
  }
  const tree = [program.pid];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  for (const pid of tree)
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
}

t.test('a Worker that stood still for longer than its leases goes on with its runs, and none is charged', async (t) => {
  if (!requireThat(t, process.platform === 'linux', 'no /proc')) return;
  const grid = newGrid(t);
  await grid.tracker();
  const { token, ask, job, reaches } = await startMaster(grid, {}, ['--ledger', 'sqlite:ledger.db']);
  const worker = grid.worker(token, 'sleeper', ['--concurrency', '3']);
  await worker.line(/connected/);
  const ids = ['a', 'b', 'c'];
  await ask(
    '/jobs',
    ids.map((id, n) => ({ id, data: { ms: 4_000, n }, attempts: 2 })),
  );
  for (const id of ids) await reaches(id, 'leased');
  signalTree(worker, 'SIGSTOP');
  for (const id of ids) await reaches(id, 'ready');
  t.match(await job('a'), { attempts: { made: 1 }, error: { code: 'lease-expired' } }, 'as far as the Master knows');
  signalTree(worker, 'SIGCONT');
  for (const id of ids) await reaches(id, 'completed');
  for (const id of ids)
    t.match(await job(id), { attempts: { made: 1 }, lease: 1, settled: { attempts: 1 } }, 'one run, under its first lease');
});

t.test('the clock of the database is set: its Masters take back no lease, and forget none', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const lab = await LabPostgres.start();
  const grid = newGrid(t);
  t.teardown(() => lab.close());
  await grid.tracker();
  const url = await lab.createDatabase();
  const database = url.slice(url.lastIndexOf('/') + 1);
  // Found before the database's own function.
  await lab.query(
    `CREATE TABLE fake_clock (ms BIGINT); INSERT INTO fake_clock VALUES (0);
    CREATE FUNCTION clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE SQL
      AS 'SELECT pg_catalog.clock_timestamp() + ms * INTERVAL ''1 ms'' FROM public.fake_clock';
    ALTER DATABASE ${database} SET search_path = public, pg_catalog`,
    database,
  );
  const env = { PEERWORK_LEDGER: url };
  const one = await startMaster(grid, env);
  // Its own clock is an hour off from the start: the database's clock counts.
  const two = await startMaster(grid, { ...env, ...shiftedClock(grid.folder, -HOUR) });
  two.program.signal('SIGUSR2');
  const worker = grid.worker(one.token, 'worker', ['--concurrency', '2']);
  await worker.line(/connected/);
  for (const shiftMs of [HOUR, -HOUR]) {
    const name = shiftMs > 0 ? 'ahead' : 'back';
    await one.ask('/jobs', [
      { id: `running ${name}`, data: { ms: 9_000, n: 1 }, attempts: 1 },
      { id: `delayed ${name}`, data: { ms: 1, n: 2 }, delayMs: DELAY_MS },
    ]);
    const pushedAt = performance.now();
    await one.reaches(`running ${name}`, 'leased');
    await lab.query(`UPDATE fake_clock SET ms = ms + ${shiftMs}`, database);
    await two.reaches(`delayed ${name}`, 'completed');
    t.ok(performance.now() - pushedAt >= DELAY_MS, 'not early');
    await two.reaches(`running ${name}`, 'completed');
    const { startedAt = 0, finishedAt = 0, ...record } = await two.job(`running ${name}`);
    t.match(record, { attempts: { made: 1 }, lease: 1 });
    t.ok(finishedAt >= startedAt);
  }
  await lab.query(`UPDATE fake_clock SET ms = ms - ${HOUR}`, database);
  await one.ask('/jobs', { id: 'lost', data: { ms: 60_000, n: 1 }, attempts: 1 });
  await one.reaches('lost', 'leased');
  worker.signal('SIGKILL');
  await lab.query(`UPDATE fake_clock SET ms = ms - ${HOUR}`, database);
  await two.reaches('lost', 'failed');
});
