import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../../../src/clock.js';
import type { Json, Outcome } from '../../../../src/job/job.js';
import type { Exchange } from '../../../../src/job/source.js';
import { silentLog } from '../../../../src/log.js';
import type { OpenfnEvent, OpenfnStep } from '../../../../src/wires/openfn/protocol.js';
import { type OpenfnRunnerOptions, openfnRunner } from '../../../../src/wires/openfn/runner/openfn-runner.js';
import { adaptorFolder } from '../../../lab/adaptors.js';
import { until } from '../../../lab/until.js';

const { folder, common } = adaptorFolder(t.testdir());
const open = (options: OpenfnRunnerOptions = {}) =>
  openfnRunner({ adaptorFolder: folder, installAdaptors: false, ...options }).open({
    worker: 'attic',
    concurrency: 2,
    memoryMb: 256,
    folder: join(folder, 'scratch'),
    clock: systemClock,
    log: silentLog,
  });
const runner = await open();
t.teardown(() => runner.close());

interface Recorded {
  readonly outcome: Outcome;
  readonly events: OpenfnEvent[];
  readonly logs: string;
}

let runs = 0;
async function run(
  steps: readonly Partial<OpenfnStep>[],
  more: object = {},
  credentials: Record<string, unknown> = {},
  signal = new AbortController().signal,
): Promise<Recorded> {
  runs += 1;
  const events: OpenfnEvent[] = [];
  const id = `run-${runs}`;
  const exchange: Exchange = {
    ask: async (question) => {
      const request = question as { ask: string; id: string };
      if (request.ask === 'run')
        return {
          id,
          steps: steps.map((step, at) => ({ id: `s${at}`, adaptors: [common], ...step })),
          input: { data: { n: 1 } },
          options: {},
          ...more,
        };
      if (credentials[request.id] === undefined) throw new Error('[fetch:credential] {"errors":{"id":["not found"]}}');
      return credentials[request.id];
    },
    tell: (event) => events.push(event as OpenfnEvent),
  };
  const outcome = await runner.run({ id, channel: 'openfn', data: null, attempt: 1, timeoutMs: 0 }, { signal, report: () => {}, exchange });
  const logs = events
    .flatMap((event) =>
      event.event === 'log' ? [event.message.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join(' ')] : [],
    )
    .join('\n');
  return { outcome, events, logs };
}

const ending = ({ events }: Recorded) => events.find((event) => event.event === 'end' || event.event === 'failed');
const failure = (recorded: Recorded) => {
  const event = ending(recorded);
  return event?.event === 'failed' ? event.error : undefined;
};

t.test('two steps with an adaptor, a credential, a lazy state and a promise', async (t) => {
  const recorded = await run(
    [
      {
        expression:
          'fn(s => ({ ...s, data: { n: s.data.n + 1, who: s.configuration.user } })).then(s => { console.log("hello", s.data); return s; });',
        configuration: 'c1',
        next: { s1: true },
      },
      {
        expression:
          'fn(dataValue("n")); fn(s => ({ ...s, data: 7 }));\neach($.list, fn(s => s))\nfn(s => ({ data: 8, references: s.references?.length }))',
        state: { list: [1, 2] },
      },
    ],
    {},
    { c1: { user: 'mariana' } },
  );
  if (ending(recorded)?.event === 'failed') t.comment(JSON.stringify(ending(recorded)));
  const kinds = recorded.events.filter(({ event }) => event !== 'log').map(({ event }) => event);
  t.same(kinds.slice(0, 3), ['start', 'step-start', 'step-end']);
  t.match(
    recorded.events.find(({ event }) => event === 'start'),
    { at: /^\d{16}$/, versions: { engine: /^1\./, '@openfn/language-common': [String] } },
  );
  const [first] = recorded.events.filter((event) => event.event === 'step-end');
  t.match(first, {
    step: 's0',
    state: { data: { n: 2, who: 'mariana' } },
    next: ['s1'],
    withheld: false,
    mem: { job: Number, system: Number },
  });
  t.notOk('configuration' in ((first?.state as object) ?? {}), 'the credential is taken out of the state');
  t.match(recorded.logs, /^Memory limit: 256mb\nTimeout: 300s\n/, 'the engine’s own words come first');
  t.match(
    recorded.events.find((event) => event.event === 'log' && event.source === 'JOB'),
    { level: 'info', message: ['hello', { n: 2 }] },
  );
});

t.test('how runs fail: in the words of OpenFn', async (t) => {
  const thrown = await run([{ expression: 'fn(() => { throw new Error("boo"); })' }]);
  t.match(thrown.outcome, { state: 'completed' }, 'an error of a job is part of the state, and the flow goes on');
  t.match(
    thrown.events.find(({ event }) => event === 'step-end'),
    { error: { name: 'JobError', severity: 'fail', message: 'boo' }, state: { errors: { s0: { message: 'boo' } } } },
  );

  const cases: readonly [string, readonly Partial<OpenfnStep>[], object, object][] = [
    ['syntax', [{ name: 'first', expression: 'fn(' }], {}, { type: 'CompileError', severity: 'crash', message: /^first: / }],
    ['a name that nobody knows', [{ expression: 'fn(() => nothing)' }], {}, { type: 'RuntimeCrash', message: /ReferenceError/ }],
    [
      'a module that may not be used',
      [{ expression: 'import fs from "node:fs"; fn(s => s)' }],
      {},
      { type: 'ImportError', message: /blacklisted/ },
    ],
    [
      'a start that does not exist',
      [{ expression: 'fn(s => s)' }],
      { start: 'y' },
      { type: 'ValidationError', message: 'Could not find start job: y' },
    ],
    [
      'a credential that is not there',
      [{ expression: 'fn(s => s)', configuration: 'cx' }],
      {},
      {
        type: 'CredentialLoadError',
        severity: 'exception',
        message: 'Failed to load credential cx: [fetch:credential] {"errors":{"id":["not found"]}}',
      },
    ],
    [
      'too long',
      [{ expression: 'fn(() => new Promise(() => {}))' }],
      { options: { timeoutMs: 1_500 } },
      { type: 'TimeoutError', severity: 'kill', message: 'Workflow failed to return within 1500ms' },
    ],
    [
      'an error that nobody awaits',
      [{ expression: 'fn(() => new Promise(() => { setTimeout(() => { throw new Error("late"); }, 1); }))' }],
      {},
      { type: 'ExecutionError', severity: 'crash' },
    ],
    [
      'too much memory',
      [{ expression: 'fn(() => { const all = []; for (;;) all.push(new Array(10000).fill(Math.random())); })' }],
      { options: { memoryMb: 64 } },
      { type: 'OOMError', severity: 'kill', message: 'Run exceeded maximum memory usage' },
    ],
    [
      'a state that is too large',
      [{ expression: 'fn(() => ({ data: "x".repeat(3000000) }))' }],
      { options: { stateLimitMb: 1 } },
      { type: 'StateTooLargeError', severity: 'kill' },
    ],
  ];
  for (const [what, steps, more, error] of cases)
    await t.test(what, async (t) => {
      const recorded = await run(steps, more);
      t.match(failure(recorded), error);
      const code = 'type' in error && error.type === 'OOMError' ? 'memory' : 'openfn-run-failed';
      t.match(recorded.outcome, { state: 'failed', error: { code }, retry: false });
      t.equal(recorded.events.at(-1), ending(recorded), 'nothing comes after the end');
    });
  t.match((await run([{ expression: 'fn(s => s)' }])).outcome, { state: 'completed' }, 'and the next run is well');
});

t.test('limits of what is told: states and log lines', async (t) => {
  const recorded = await run([{ expression: 'fn(s => { console.log("y".repeat(3000)); return { data: "x".repeat(3000) }; })' }], {
    options: { payloadLimitMb: 0.001, logLimitMb: 0.001 },
  });
  t.match(
    recorded.events.find(({ event }) => event === 'step-end'),
    { withheld: true },
  );
  t.notMatch(recorded.logs, /yyyy/);
  t.match(recorded.logs, /REDACTED/);
  const quiet = await run([{ expression: 'fn(s => { console.log("psst"); return s; })' }], { options: { jobLogLevel: 'none' } });
  t.notMatch(quiet.logs, /psst/);
});

t.test('adaptors: only as the owner allows', async (t) => {
  const missing = await run([{ expression: 'fn(s => s)', adaptors: ['@openfn/language-common@0.0.1'] }]);
  t.match(failure(missing), {
    type: 'AutoinstallError',
    message: 'Error installing @openfn/language-common@0.0.1: it is not installed, and this worker installs nothing',
  });
  const blacklisted = (name: string) => ({ type: 'ImportError', severity: 'crash', message: `module blacklisted: ${name}` });
  for (const specifier of ['@openfn/x@1.0.0; rm -rf /', '../../x', '@openfn/language-common@file:/etc'])
    t.match(failure(await run([{ expression: 'fn(s => s)', adaptors: [specifier] }])), blacklisted(specifier), specifier);
  const local = await run([{ expression: 'fn(s => s)', adaptors: ['@openfn/language-common@local'] }]);
  t.match(failure(local), { type: 'ImportError', severity: 'crash', message: /no folder of adaptors/ });
  const foreign = await run([{ expression: 'import _ from "lodash"; fn(s => s)', adaptors: [common, 'lodash@4.0.0'] }]);
  t.match(failure(foreign), blacklisted('lodash'), 'the reason that OpenFn’s own worker gives');
  t.match(foreign.logs, /the owner of this worker does not allow lodash@4.0.0/);
  const unused = await run([{ expression: 'fn(s => s)', adaptors: [common, 'lodash@4.0.0'] }]);
  t.match(unused.outcome, { state: 'completed' }, 'and as there, only what is imported counts');
});

t.test('the owner’s own list of adaptors holds for imports too, also of what is installed', async (t) => {
  const narrow = await open({ adaptors: ['@openfn/language-http'] });
  t.teardown(() => narrow.close());
  const data = { steps: [{ id: 'a', expression: 'import { fn } from "@openfn/language-common"; fn(s => s)' }] };
  const context = { signal: new AbortController().signal, report: () => {} };
  t.match(await narrow.run({ id: 'n', channel: 'x', data, attempt: 1, timeoutMs: 0 }, context), {
    state: 'failed',
    error: { message: /ImportError: module blacklisted: @openfn\/language-common/ },
  });
});

t.test('an adaptor of a folder of the owner’s', async (t) => {
  const folder = t.testdir({
    packages: {
      common: {
        'package.json': '{ "name": "@openfn/language-common", "type": "module", "main": "index.js" }',
        'index.js':
          'export const fortyTwo = () => (state) => ({ ...state, data: 42 });\nexport const leave = () => () => process.exit(1);\n',
      },
    },
  });
  const own = await open({ adaptorMonorepo: folder });
  t.teardown(() => own.close());
  const data = { steps: [{ id: 'a', expression: 'fortyTwo()', adaptors: ['@openfn/language-common@local'] }] };
  const context = { signal: new AbortController().signal, report: () => {} };
  const outcome = await own.run({ id: 'l', channel: 'x', data, attempt: 1, timeoutMs: 0 }, context);
  t.match(outcome, { state: 'completed', output: { data: 42 } });
  const left = { steps: [{ ...data.steps[0], expression: 'leave()' }] };
  t.match(await own.run({ id: 'x', channel: 'x', data: left as never, attempt: 1, timeoutMs: 0 }, context), {
    state: 'failed',
    error: { message: /^The workflow did not succeed: ExitError: Worker thread exited with code: 1$/ },
  });
});

t.test('limits of runs that are too tight for anything do not stop the engine from starting', async (t) => {
  for (const options of [{ timeoutMs: 1 }, { memoryMb: 1 }]) {
    const tight = await open(options);
    t.teardown(() => tight.close());
    const data = { steps: [{ id: 'a', expression: 'export default [() => { for (;;); }]' }] };
    const context = { signal: new AbortController().signal, report: () => {} };
    t.match((await tight.run({ id: 't', channel: 'x', data, attempt: 1, timeoutMs: 5_000 }, context)).state, 'failed');
  }
});

t.test('job code sees no environment, no process and no other run', async (t) => {
  process.env['WORKER_SECRET'] = 'the secret of both';
  const recorded = await run([
    {
      expression:
        'fn(s => ({ data: [typeof process, typeof require, typeof globalThis.leak] })); fn(s => { globalThis.leak = 1; return s; })',
    },
  ]);
  delete process.env['WORKER_SECRET'];
  const again = await run([{ expression: 'fn(s => ({ data: [typeof process, typeof require, typeof globalThis.leak] }))' }]);
  for (const each of [recorded, again]) t.match(ending(each), { state: { data: ['undefined', 'undefined', 'undefined'] } });
});

t.test('two runs at once, and one that is cancelled', async (t) => {
  const cancel = new AbortController();
  const endless = run([{ expression: 'fn(() => { for (;;); })' }], {}, {}, cancel.signal);
  const quick = await run([{ expression: 'fn(s => s)' }]);
  t.match(quick.outcome, { state: 'completed' });
  cancel.abort();
  t.match((await endless).outcome, { state: 'released' });
});

t.test('a job of another source: the workflow is its data, the last state its output', async (t) => {
  const job = (data: Json) => ({ id: 'j1', channel: 'default', data, attempt: 1, timeoutMs: 0 });
  const lines: string[] = [];
  const context = {
    signal: new AbortController().signal,
    report: (progress: { kind: string; line?: string }) => lines.push(progress.line ?? ''),
  };
  const data = {
    steps: [{ id: 'a', expression: 'fn(s => { console.log("seen"); return { data: s.data.n * 2 }; })', adaptors: [common] }],
    input: { data: { n: 21 } },
  };
  t.match(await runner.run(job(data), context), { state: 'completed', output: { data: 42 } });
  t.ok(lines.includes('seen'));
  const workplace = {
    digest: '',
    folder: t.testdir({ 'task.json': JSON.stringify({ runner: 'openfn', ...data }) }),
    entry: 'task.json',
    readable: [],
  };
  const output = await runner.run(job({ input: { data: { n: 4 } } }), { ...context, workplace });
  t.match(output, { state: 'completed', output: { data: 8 } }, 'task.json has the steps, the job the input');
  t.match(await runner.run(job({ steps: 'none' }), context), { state: 'failed', error: { code: 'openfn-run-failed' } });
});

t.test('an engine whose process was killed while it had nothing to do is replaced', async (t) => {
  const before = new Set(childrenOf(process.pid));
  const other = await open();
  t.teardown(() => other.close());
  const fresh = childrenOf(process.pid).filter((pid) => !before.has(pid));
  t.equal(fresh.length, 1);
  for (const pid of fresh) process.kill(pid, 'SIGKILL');
  await until(() => !fresh.some((pid) => childrenOf(process.pid).includes(pid)));
  const context = { signal: new AbortController().signal, report: () => {} };
  const data = { steps: [{ id: 'a', expression: 'export default [s => ({ data: 1 })]' }] };
  t.match(await other.run({ id: 'k', channel: 'x', data, attempt: 1, timeoutMs: 20_000 }, context), {
    state: 'completed',
    output: { data: 1 },
  });
});

t.test('closing ends what runs', async (t) => {
  const own = await open();
  const context = { signal: new AbortController().signal, report: () => {} };
  const endless = own.run(
    { id: 'e', channel: 'x', data: { steps: [{ id: 'a', expression: 'export default [() => { for (;;); }]' }] }, attempt: 1, timeoutMs: 0 },
    context,
  );
  await own.close();
  t.match(await endless, { state: 'released' });
});

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}
