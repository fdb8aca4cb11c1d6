import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { readdirSync } from 'node:fs';
import t from 'tap';
import type { OpenfnRun } from '../../../../src/wires/openfn/protocol.js';
import { freePort } from '../../../lab/free-port.js';
import { type Answer, eventsOfTwoSteps } from '../../../lab/lightning.js';
import { until } from '../../../lab/until.js';
import { at, job, line, oneStep, SECRET, start, started } from './harness.js';

const never = new Promise<never>(() => {});

for (const style of ['real', 'mock'] as const) {
  t.test(`a run from claim to completion (${style} server)`, async (t) => {
    let seen: OpenfnRun | undefined;
    const h = await start(t, {
      lightning: { style },
      workerName: 'cellar',
      script: async (run, tell, lease) => {
        seen = run;
        await lease.exchange?.ask({ ask: 'credential', id: 'c1' });
        return oneStep()(run, tell, lease);
      },
    });
    const { lightning } = h;
    lightning.dataclips.set('d1', { data: { n: 1 } });
    lightning.credentials.set('c1', { password: 'correct horse' });
    const id = lightning.enqueue({
      dataclip_id: 'd1',
      starting_node_id: 't1',
      triggers: [{ id: 't1', type: 'webhook' }],
      jobs: [job('a', { credential_id: 'c1' }), job('b')],
      edges: [
        { id: 'e1', source_trigger_id: 't1', target_job_id: 'a', condition: 'always', enabled: true },
        { id: 'e2', source_job_id: 'a', target_job_id: 'b', condition: 'on_job_success' },
      ],
    });
    const complete = await lightning.completed(id);
    await lightning.until(() => lightning.of(id, 'phx_leave').length > 0);

    const join = lightning.seen('phx_join')[0]?.payload;
    t.same(join, { capacity: 2 }, 'the queue is joined with the capacity, without queues that nobody set');
    t.match(lightning.seen('claim')[0]?.payload, { demand: 2, worker_name: 'cellar', queues: ['manual', '*'] });
    const url = lightning.urls[0];
    t.same([url?.searchParams.get('vsn'), url?.searchParams.get('api_version')], ['2.0.0', '1.2']);
    t.same(seen?.input, { data: { n: 1 } }, 'the input is the dataclip');
    t.same(seen?.steps[0], { id: 't1', next: { a: true } });
    t.match(seen?.steps[1], { id: 'a', configuration: 'c1', next: { b: { condition: 'on_job_success' } } });

    t.same(
      lightning
        .of(id)
        .map(({ event }) => event)
        .filter((event) => event !== 'run:log'),
      eventsOfTwoSteps,
    );
    const [first, second] = lightning.of(id, 'step:start').map(({ payload }) => payload);
    const [ended, last] = lightning.of(id, 'step:complete').map(({ payload }) => payload);
    t.match(first, { job_id: 'a', input_dataclip_id: 'd1', timestamp: /^\d{16}$/ });
    t.equal(second?.['input_dataclip_id'], ended?.['output_dataclip_id'], 'a step begins with what the one before it left');
    t.match(ended, {
      step_id: first?.['step_id'],
      reason: 'success',
      error_type: null,
      duration: 3,
      thread_id: 1,
      mem: { job: 1, system: 2 },
    });
    t.equal(ended?.['output_dataclip'], '{"data":{"done":true}}', 'as text');
    t.match(complete, {
      reason: 'success',
      error_type: null,
      error_message: null,
      timestamp: /^\d{16}$/,
      final_state: { data: { done: true } },
    });
    t.equal(complete['final_dataclip_id'], last?.['output_dataclip_id']);
    const logs = lightning.of(id, 'run:log').map(({ payload }) => payload);
    t.match(logs[0], { run_id: id, source: 'RTE', message: ['Payload limit: 10mb'] });
    t.match(logs[1]?.['message'], [/Versions:[\s\S]*worker[\s\S]*language-common/]);
    t.match(
      logs.find(({ source }) => source === 'JOB'),
      { message: ['in a'], step_id: first?.['step_id'], level: 'info' },
    );
    t.match(logs.at(-1)?.['message'], ['Run complete with status: success']);
  });
}

t.test('the token that opens the connection is signed with the secret, and never in a log', async (t) => {
  const h = await start(t);
  await h.lightning.until(() => h.lightning.seen('claim').length > 0);
  const token = h.lightning.urls[0]?.searchParams.get('token') ?? '';
  const [header = '', claims = '', signature] = token.split('.');
  t.equal(signature, createHmac('sha256', SECRET).update(`${header}.${claims}`).digest('base64url'));
  t.same(JSON.parse(Buffer.from(header, 'base64url').toString()), { alg: 'HS256' });
  t.match(JSON.parse(Buffer.from(claims, 'base64url').toString()), { worker_id: /^attic-/, iss: 'urn:openfn:worker', iat: Number });
  t.notMatch(h.lines.join('\n'), token);
});

t.test('exit reasons: a failed leaf, a failed step that was caught, a crash in a step', async (t) => {
  const error = { name: 'RuntimeError', subtype: 'TypeError', severity: 'fail', message: 'TypeError: no' };
  const end = { event: 'step-end', durationMs: 1, withheld: false } as const;
  const failing = { errors: { a: { name: 'RuntimeError', message: 'TypeError: no' } } };
  const h = await start(t, {
    script: async ({ steps }, tell) => {
      started(tell);
      tell({ event: 'step-start', at: at(), step: 'a' });
      const mode = steps[0]?.name;
      if (mode === 'crash') {
        tell({ event: 'failed', at: at(), error: { type: 'RuntimeCrash', severity: 'crash', message: 'ReferenceError: x' } });
        return { state: 'failed', error: { code: 'openfn-run-failed', message: 'x' }, retry: false };
      }
      tell({ ...end, at: at(), step: 'a', state: failing, next: mode === 'caught' ? ['b'] : [], error });
      if (mode === 'caught') {
        tell({ event: 'step-start', at: at(), step: 'b' });
        tell({ ...end, at: at(), step: 'b', state: { data: {} }, next: [] });
      }
      tell({ event: 'end', at: at(), state: failing });
      return undefined;
    },
  });
  const { lightning } = h;
  const run = (name: string) => lightning.enqueue({ jobs: [job('a', { name })] });
  const [leaf, caught, crash] = [run('leaf'), run('caught'), run('crash')];
  t.match(await lightning.completed(leaf), { reason: 'fail', error_type: 'RuntimeError', error_message: 'TypeError: no' });
  t.match(await lightning.completed(caught), { reason: 'success', error_type: null });
  const crashed = await lightning.completed(crash);
  t.match(crashed, { reason: 'crash', error_type: 'RuntimeCrash', error_message: 'ReferenceError: x', timestamp: /^\d{16}$/ });
  t.notOk('final_state' in crashed);
  t.match(lightning.of(crash, 'step:complete')[0]?.payload, {
    reason: 'crash',
    error_type: 'RuntimeCrash',
    output_dataclip: '{}',
    output_dataclip_id: String,
  });
  t.match(lightning.of(leaf, 'step:complete')[0]?.payload, { reason: 'fail', error_type: 'RuntimeError' });
  t.notOk('mem' in (lightning.of(leaf, 'step:complete')[0]?.payload ?? {}));
});

t.test('what is larger than the payload limit is withheld, and what comes of it', async (t) => {
  const h = await start(t, {
    sendFinalState: false,
    script: async (_, tell) => {
      started(tell);
      for (const step of ['a', 'b']) {
        tell({ event: 'step-start', at: at(), step });
        tell({
          event: 'step-end',
          at: at(),
          step,
          durationMs: 1,
          state: { data: '[REDACTED]' },
          next: step === 'a' ? ['b'] : [],
          withheld: true,
        });
      }
      tell({ event: 'end', at: at(), state: { data: '[REDACTED]' } });
      return undefined;
    },
  });
  const { lightning } = h;
  const id = lightning.enqueue({ dataclip_id: null, jobs: [job('a'), job('b')], options: { payload_limit_mb: 0 } });
  const complete = await lightning.completed(id);
  t.match(complete, { reason: 'success' });
  t.notOk('final_dataclip_id' in complete || 'final_state' in complete);
  const [first] = lightning.of(id, 'step:complete').map(({ payload }) => payload);
  t.match(first, { output_dataclip_error: 'DATACLIP_TOO_LARGE', reason: 'success' });
  t.notOk('output_dataclip' in (first ?? {}) || 'output_dataclip_id' in (first ?? {}));
  t.notOk('input_dataclip_id' in (lightning.of(id, 'step:start')[1]?.payload ?? {}));
  t.match(
    lightning
      .of(id, 'run:log')
      .flatMap(({ payload }) => payload['message'])
      .join('\n'),
    /withheld/,
  );
});

t.test('a server that keeps no data gets ids without bodies', async (t) => {
  const h = await start(t);
  const id = h.lightning.enqueue({ jobs: [job('a')], options: { output_dataclips: false } });
  await h.lightning.completed(id);
  const [step] = h.lightning.of(id, 'step:complete').map(({ payload }) => payload);
  t.match(step, { output_dataclip_id: String });
  t.notOk('output_dataclip' in (step ?? {}));
});

t.test('log lines travel in batches where they may, in their place among the other events', async (t) => {
  const h = await start(t, {
    batchLogs: { lines: 10, waitMs: 20 },
    script: async (_, tell) => {
      started(tell);
      tell({ event: 'step-start', at: at(), step: 'a' });
      for (let each = 0; each < 25; each += 1) tell(line(`line ${each}`));
      tell({ event: 'step-end', at: at(), step: 'a', durationMs: 1, state: {}, next: [], withheld: false });
      tell({ event: 'end', at: at(), state: {} });
      return undefined;
    },
  });
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  await h.lightning.completed(id);
  t.same(
    h.lightning
      .of(id)
      .slice(2)
      .map(({ event }) => event),
    [
      'run:start',
      'run:batch_logs',
      'step:start',
      'run:batch_logs',
      'run:batch_logs',
      'run:batch_logs',
      'step:complete',
      'run:batch_logs',
      'run:complete',
    ],
  );
  const batches = h.lightning.of(id, 'run:batch_logs').map(({ payload }) => payload['logs'] as { message: string[] }[]);
  t.same(
    batches.map(({ length }) => length),
    [2, 10, 10, 5, 1],
  );
  t.same(
    batches
      .slice(1, 4)
      .flat()
      .map(({ message }) => message[0]),
    Array.from({ length: 25 }, (_, each) => `line ${each}`),
  );
});

t.test('secrets of credentials are in no log line and no error', async (t) => {
  const h = await start(t, {
    script: async (_, tell, lease) => {
      const body = await lease.exchange?.ask({ ask: 'credential', id: 'c1' });
      started(tell);
      tell({ event: 'log', at: at(), level: 'info', source: 'JOB', message: ['it is swordfish-77', { configuration: body as never }] });
      tell({ event: 'failed', at: at(), error: { type: 'X', severity: 'crash', message: 'cannot log in with swordfish-77' } });
      return { state: 'failed', error: { code: 'openfn-run-failed', message: 'x' }, retry: false };
    },
  });
  h.lightning.credentials.set('c1', { username: 'mariana', password: 'swordfish-77', nested: { apiKey: 'tuna"sandwich' } });
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  t.match(await h.lightning.completed(id), { error_message: 'cannot log in with ***' });
  const reported = JSON.stringify(h.lightning.of(id).filter(({ event }) => event.startsWith('run:')));
  t.notMatch(reported, /swordfish|tuna/);
  t.match(reported, /mariana/, 'who logged in is no secret');
  t.notMatch(h.lines.join('\n'), /swordfish|tuna/);
});

t.test('capacity: never more at once, and the next as soon as one has ended', async (t) => {
  let running = 0;
  let most = 0;
  const ends: (() => void)[] = [];
  const h = await start(t, {
    concurrency: 2,
    backoffMs: [60_000, 60_000],
    script: async (run, tell, lease) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise<void>((resolve) => ends.push(resolve));
      running -= 1;
      return oneStep()(run, tell, lease);
    },
  });
  const { lightning } = h;
  await lightning.until(() => lightning.seen('claim').length > 0);
  const ids = Array.from({ length: 5 }, () => lightning.enqueue({ jobs: [job('a')] }));
  lightning.workAvailable();
  await lightning.until(() => lightning.seen('fetch:plan').length === 2);
  lightning.workAvailable();
  lightning.workAvailable();
  for (let ended = 0; ended < 5; ended += 1) {
    await until(() => ends.length > 0);
    ends.shift()?.();
    await lightning.until(() => lightning.seen('run:complete').length > ended);
  }
  await Promise.all(ids.map((id) => lightning.completed(id)));
  t.equal(most, 2);
});

t.test('one claim at a time: idle claims stay few, also after many runs', async (t) => {
  const h = await start(t, { concurrency: 1, backoffMs: [100, 200] });
  for (let each = 0; each < 6; each += 1) {
    const id = h.lightning.enqueue({ jobs: [job('a')] });
    h.lightning.workAvailable();
    await h.lightning.completed(id);
  }
  const before = h.lightning.seen('claim').length;
  const startedAt = Date.now();
  await h.lightning.until(() => h.lightning.seen('claim').length >= before + 5);
  t.ok(Date.now() - startedAt >= 400, 'five more take at least four waits');
});

t.test('workloops: each group asks for its own queues and has its own places', async (t) => {
  const h = await start(t, { concurrency: 3, workloops: 'fast_lane:1 manual>*:2', script: () => never });
  await h.lightning.until(() => h.lightning.seen('claim').length >= 2);
  t.same(h.lightning.seen('phx_join')[0]?.payload, { capacity: 3, queues: { fast_lane: 1, 'manual>*': 2 } });
  const claims = h.lightning.seen('claim').map(({ payload }) => payload);
  t.match(
    claims.find(({ queues }) => (queues as string[])[0] === 'fast_lane'),
    { demand: 1, queues: ['fast_lane'] },
  );
  t.match(
    claims.find(({ queues }) => (queues as string[])[0] === 'manual'),
    { demand: 2, queues: ['manual', '*'] },
  );
});

t.test('run tokens are verified where a key is set', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1_000);
  const token = (key: typeof privateKey, claims = {}) => {
    const body = `${encode({ alg: 'RS256' })}.${encode({ iss: 'Lightning', iat: now, nbf: now + 3, exp: now - 3, ...claims })}`;
    return `${body}.${sign('sha256', Buffer.from(body), key).toString('base64url')}`;
  };
  const pem = Buffer.from(publicKey.export({ type: 'spki', format: 'pem' })).toString('base64');

  await t.test('good ones, within the skew of clocks', async (t) => {
    const h = await start(t, { publicKey: pem, lightning: { tokenOf: () => token(privateKey) } });
    t.match(await h.lightning.completed(h.lightning.enqueue({ jobs: [job('a')] })), { reason: 'success' });
    t.same(h.warnings, []);
  });
  for (const [what, bad] of [
    ['of another key', token(other)],
    ['of another issuer', token(privateKey, { iss: 'Thunder' })],
    ['that is over', token(privateKey, { exp: now - 60 })],
    ['that is not yet', token(privateKey, { nbf: now + 60 })],
    ['that is none', 'x.y.z'],
  ] as const)
    await t.test(`one ${what} is not run, and nothing is taken any more`, async (t) => {
      const h = await start(t, { publicKey: pem, lightning: { tokenOf: () => bad } });
      const id = h.lightning.enqueue({ jobs: [job('a')] });
      await h.lightning.until(() => h.lightning.seen('phx_leave').length > 0);
      t.match(h.warnings, [{ code: 'openfn-run-untrusted' }]);
      t.same(h.lightning.of(id), []);
    });
});

t.test('without the runner nothing is claimed, and it says why; when it comes, runs are', async (t) => {
  let addRunner = () => {};
  const late = new Promise<void>((resolve) => {
    addRunner = resolve;
  });
  const h = await start(t, { runners: ['task-module'], late });
  t.match(h.warnings, [{ code: 'openfn-engine-missing' }]);
  t.equal(h.lightning.urls.length, 0);
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  addRunner();
  await h.lightning.until(() => h.lightning.of(id, 'run:complete').length > 0);
  t.pass('it runs');
});

t.test('drain: nothing is claimed after the stop, what runs ends, what was not begun is left to others', async (t) => {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const h = await start(t, {
    concurrency: 1,
    script: async (run, tell, lease) => {
      await ended;
      return oneStep()(run, tell, lease);
    },
  });
  const { lightning } = h;
  const id = lightning.enqueue({ jobs: [job('a')] });
  await lightning.until(() => lightning.of(id, 'fetch:plan').length > 0);
  const stopped = h.stopClaiming();
  lightning.enqueue({ jobs: [job('b')] });
  lightning.workAvailable();
  await stopped;
  const claims = lightning.seen('claim').length;
  const flushed = h.source.flush(AbortSignal.timeout(240_000));
  end();
  await flushed;
  t.match(lightning.of(id, 'run:complete')[0]?.payload, { reason: 'success' }, 'the flush waits for the last answer');
  await h.source.close();
  await lightning.until(() => lightning.connections === 0);
  t.equal(lightning.seen('claim').length, claims);
  t.equal(lightning.queue.length, 1);
});

t.test('a run that is given up half way is completed as an exception', async (t) => {
  const h = await start(t, {
    script: async (_, tell) => {
      started(tell);
      tell({ event: 'step-start', at: at(), step: 'a' });
      return { state: 'released', reason: 'the worker stops' };
    },
  });
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  t.match(await h.lightning.completed(id), { reason: 'exception', error_type: 'WorkerStopped' });
  t.match(h.lightning.of(id, 'step:complete')[0]?.payload, { reason: 'exception' });
});

t.test('a claim that was withdrawn: its runs go to the next claim', async (t) => {
  let answer: Answer | undefined = { kind: 'silence' };
  const h = await start(t, { script: () => never, lightning: { meddle: ({ event }) => (event === 'claim' ? answer : undefined) } });
  const { lightning } = h;
  const id = lightning.enqueue({ jobs: [job('a')] });
  const claim = await lightning.until(() => lightning.seen('claim')[0]);
  await h.stopClaiming();
  answer = undefined;
  lightning.push('worker:queue', 'phx_reply');
  const late = JSON.stringify([
    claim.joinRef,
    claim.ref,
    'worker:queue',
    'phx_reply',
    { status: 'ok', response: { runs: [{ id, token: 'x.y.z' }] } },
  ]);
  lightning.raw(late);
  const leases = await h.source.claim(2, AbortSignal.timeout(240_000));
  t.same(
    leases.map((lease) => lease.job.id),
    [id],
  );
});

t.test('health: it lives whether or not the server does, and claims when asked', async (t) => {
  const port = await freePort();
  const h = await start(t, { port, host: '127.0.0.1', backoffMs: [60_000, 60_000] });
  const ask = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${port}${path}`, { method });
  await h.lightning.until(() => h.lightning.seen('claim').length > 0);
  t.equal((await ask('/livez')).status, 200);
  t.equal(await (await ask('/')).text(), 'OK');
  t.equal((await ask('/run', 'POST')).status, 404);
  t.equal((await ask('/claim', 'POST')).status, 204);
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  const claimed = await ask('/claim', 'POST');
  t.same([claimed.status, await claimed.text()], [200, 'complete']);
  await h.lightning.completed(id);
  await h.lightning.stop();
  t.equal((await ask('/livez')).status, 200);
});

t.test('nothing of a run touches the disk', async (t) => {
  const folder = t.testdir();
  const h = await start(t, { folder });
  await h.lightning.completed(h.lightning.enqueue({ jobs: [job('a')] }));
  t.same(readdirSync(folder), [], 'and asking for an outbox would have failed');
});
