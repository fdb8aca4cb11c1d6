import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { openfnOptions } from '../../../../src/wires/openfn/options.js';
import { decodeFrame } from '../../../../src/wires/openfn/source/frames.js';
import { openfnSource } from '../../../../src/wires/openfn/source/openfn-source.js';
import { readWorkloops } from '../../../../src/wires/openfn/source/options.js';
import { readPlan } from '../../../../src/wires/openfn/source/plan.js';
import { Scrubber } from '../../../../src/wires/openfn/source/scrub.js';
import { Steps } from '../../../../src/wires/openfn/source/steps.js';
import { readPublicKey } from '../../../../src/wires/openfn/source/tokens.js';

const extras = { token: 'run-token', collections: undefined, payloadLimitMb: 10, logLimitMb: undefined };
const collections = { url: 'https://lightning/collections', version: '0.8.0' };

t.test('a plan with as little as possible, and with everything', async (t) => {
  const least = readPlan({ id: 'r', jobs: [{ body: 'fn()' }] }, extras);
  const run = least.run({});
  t.match(run.steps, [{ id: /^[\da-f-]{36}$/, expression: 'fn()', adaptors: [] }], 'a job without an id is given one');
  t.same(least.firstJobs, [run.steps[0]?.id]);
  t.same(run.options, { payloadLimitMb: 10, logLimitMb: 1 });
  t.equal(least.dataclipId, undefined);
  t.ok(least.wantsStates);

  const most = readPlan(
    {
      id: 'r',
      name: 'flow',
      project_id: 'p',
      dataclip_id: 'd',
      starting_node_id: 't',
      triggers: [{ id: 't', type: 'cron' }],
      jobs: [
        { id: 'a', name: 'A', adaptor: 'x@1', body: 'collections.get()', credential_id: 'c1', credential: { inline: 1 }, state: { k: 1 } },
        { id: 'b', body: '', credential_id: null },
      ],
      edges: [
        { id: '1', source_trigger_id: 't', target_job_id: 'a', condition: 'always', enabled: true },
        { id: '2', source_trigger_id: 't', target_job_id: 'b', condition: 'state.x', enabled: true },
        { id: '3', source_trigger_id: 't', target_job_id: 'off', enabled: false },
        { id: '4', source_job_id: 'a', target_job_id: 'b', condition: 'state.data > 1' },
        { id: '5', source_job_id: 'a', target_job_id: 'c', enabled: false },
        { id: '6', source_job_id: 'a', target_job_id: '__proto__', condition: 'always' },
        { id: '7', source_job_id: 'b', target_job_id: 'a' },
      ],
      globals: 'export const f = 1',
      options: {
        run_timeout_ms: 5,
        run_memory_limit_mb: 6,
        payload_limit_mb: 0,
        log_payload_limit_mb: 7,
        state_limit_mb: 8,
        job_log_level: 'none',
        sanitize: 'remove',
        output_dataclips: false,
      },
    },
    { ...extras, collections },
  );
  t.same([most.dataclipId, most.firstJobs, most.wantsStates], ['d', ['a', 'b'], false]);
  const { steps, ...rest } = most.run({ data: 1 });
  t.same(rest, {
    id: 'r',
    name: 'flow',
    start: 't',
    input: { data: 1 },
    globals: 'export const f = 1',
    credentials: { collections_token: 'run-token', collections_endpoint: collections.url, project_id: 'p' },
    options: { timeoutMs: 5, memoryMb: 6, payloadLimitMb: 0, logLimitMb: 7, stateLimitMb: 8, jobLogLevel: 'none', sanitize: 'remove' },
  });
  t.same(steps[0], { id: 't', next: { a: true, b: { condition: 'state.x' } } });
  t.match(steps[1], {
    id: 'a',
    name: 'A',
    adaptors: ['x@1', '@openfn/language-collections@0.8.0'],
    configuration: { inline: 1 },
    state: { k: 1 },
  });
  t.same(Object.entries(steps[1]?.next ?? {}), [
    ['b', { condition: 'state.data > 1' }],
    ['c', { disabled: true }],
    ['__proto__', { condition: 'always' }],
  ]);
  t.same(steps[2], { id: 'b', expression: '', adaptors: [], next: { a: true } });
});

t.test('a log line may be as large as a state at most, and as large as is said', async (t) => {
  const limits = (options: object, more: object = {}) =>
    readPlan({ id: 'r', jobs: [], options }, { ...extras, ...more }).run({}).options.logLimitMb;
  t.same([limits({}), limits({ payload_limit_mb: 0.5 }), limits({ payload_limit_mb: 0 })], [1, 0.5, 0]);
  t.equal(limits({ payload_limit_mb: 0, log_payload_limit_mb: 2 }), 2);
  t.equal(limits({ payload_limit_mb: 0 }, { logLimitMb: 3 }), 3);
});

t.test('a job of the collections adaptor keeps its own version of it', async (t) => {
  const job = { body: 'collections.get()', adaptor: '@openfn/language-collections@0.6.2' };
  const { steps } = readPlan({ id: 'r', jobs: [job] }, { ...extras, collections }).run({});
  t.same(steps[0]?.adaptors, [job.adaptor]);
});

t.test('a plan that is none says where', async (t) => {
  for (const [plan, where] of [
    [null, 'the plan'],
    [{ id: 'r' }, 'jobs'],
    [{ id: 'r', jobs: [{ body: 1 }] }, 'jobs.0.body'],
    [{ id: 'r', jobs: [], options: { run_timeout_ms: -1 } }, 'options.run_timeout_ms'],
    [{ id: 'r', jobs: [], edges: [{ source_job_id: 'a' }] }, 'edges.0.target_job_id'],
  ] as const)
    t.throws(() => readPlan(plan, extras), { message: new RegExp(`^${where}: `) });
});

t.test('steps: which dataclip each begins with, and which one is the result', async (t) => {
  const steps = new Steps('d', ['a'], true);
  const end = (step: string, next: readonly string[], more = {}) =>
    steps.end({ event: 'step-end', at: '1', step, durationMs: 1, state: { step }, next, withheld: false, ...more });
  t.equal(steps.start('a', '1')['input_dataclip_id'], 'd');
  const a = end('a', ['b', 'c'])?.['output_dataclip_id'];
  t.equal(end('a', []), undefined, 'a step ends once');
  t.equal(steps.start('b', '1')['input_dataclip_id'], a);
  t.ok(steps.current);
  t.match(end('b', ['d'], { withheld: true }), { output_dataclip_error: 'DATACLIP_TOO_LARGE' });
  t.equal(steps.current, undefined);
  t.equal(steps.start('c', '1')['input_dataclip_id'], a, 'both branches begin with the same');
  const c = end('c', ['d'])?.['output_dataclip_id'];
  t.notOk('input_dataclip_id' in steps.start('d', '1'), 'what was withheld is nobody’s input');
  const first = end('d', [])?.['output_dataclip_id'];
  t.equal(steps.finalDataclip, first);
  t.equal(steps.start('d', '1')['input_dataclip_id'], c, 'a step that two lead to runs twice');
  t.match(end('d', [], { state: { webhookResponse: { status: 201 } } }), { webhook_response: { status: 201 } });
  t.equal(steps.finalDataclip, undefined, 'two leaves: no single result');
  t.match(steps.reason, { reason: 'success' });
  steps.start('e', '1');
  t.match(steps.interrupt({ message: 'gone', type: 'TimeoutError', severity: 'kill' }, '2'), [
    { job_id: 'e', reason: 'kill', error_type: 'TimeoutError', output_dataclip: '{}' },
  ]);
});

t.test('workloops are read as OpenFn’s worker reads them', async (t) => {
  t.same(readWorkloops(' fast_lane:1  manual>*:5 '), [
    { queues: ['fast_lane'], capacity: 1 },
    { queues: ['manual', '*'], capacity: 5 },
  ]);
  for (const bad of ['', 'a', 'a:0', 'a:-1', '*>a:1', 'a>:1', 'a b:1', 'ä:1', 'a:1.5'])
    t.throws(() => readWorkloops(bad), { code: 'openfn-invalid' }, bad);
});

t.test('a back-off may be as short as OpenFn’s worker allows', async (t) => {
  const { parse } = openfnOptions.openfnBackoff;
  t.same(parse(['0.0001/0.01']), [0.1, 10]);
  t.same(parse(['1/10']), [1_000, 10_000]);
  for (const wrong of ['0/1', '2/1', '1', '1/x']) t.equal(parse([wrong]), undefined, wrong);
});

t.test('settings that cannot work are refused at once', async (t) => {
  t.throws(() => openfnSource({ url: 'http://x' }), { code: 'openfn-invalid' });
  t.throws(() => openfnSource({ url: 'ws://x', publicKey: 'nonsense' }), { code: 'openfn-invalid' });
  t.throws(() => openfnSource({ url: 'ws://x', capacity: 1, workloops: 'a:1' }), { code: 'openfn-invalid' });
});

t.test('public keys: PKCS#1 and SPKI, as base64 or as they are', async (t) => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  for (const type of ['pkcs1', 'spki'] as const) {
    const pem = publicKey.export({ type, format: 'pem' }).toString();
    for (const text of [pem, Buffer.from(pem).toString('base64')]) t.ok(readPublicKey(text)?.equals(publicKey));
  }
  const elliptic = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString();
  t.equal(readPublicKey(elliptic), undefined);
});

t.test('secrets are taken out wherever they stand, longest first', async (t) => {
  const scrubber = new Scrubber();
  scrubber.learn({
    password: 'sesame',
    token: 'sesame-open',
    pin: 123456,
    short: 'abc',
    baseUrl: 'https://host',
    user: 'mariana',
    list: ['hidden-1'],
  });
  t.equal(scrubber.text('sesame-open sesame abc https://host mariana'), '*** *** abc https://host mariana');
  t.same(scrubber.json(['sesame', { 'hidden-1': [123456, 7, null, true] }]), ['***', { '***': ['***', 7, null, true] }]);
});

t.test('binary frames: pushes, broadcasts, and what is cut short', async (t) => {
  const frame = (kind: number, texts: readonly string[], body: string) =>
    Buffer.from([kind, ...texts.map(({ length }) => length), ...Buffer.from(texts.join('') + body)]);
  t.match(decodeFrame(frame(0, ['1', 'topic', 'event'], 'x'), true), { kind: 'push', joinRef: '1', topic: 'topic', event: 'event' });
  t.match(decodeFrame(frame(2, ['topic', 'event'], 'x'), true), { kind: 'push', joinRef: null, topic: 'topic', event: 'event' });
  const reply = frame(1, ['1', '2', 'topic', 'ok'], '{}');
  t.match(decodeFrame(reply, true), { kind: 'reply', ref: '2', topic: 'topic', ok: true });
  for (let length = 0; length < reply.length - 2; length += 1) t.equal(decodeFrame(reply.subarray(0, length), true), undefined);
  t.equal(decodeFrame(frame(3, ['a', 'b'], ''), true), undefined);
});
