import t from 'tap';
import { type JobField, jobFieldNames } from '../../src/job/job-fields.js';
import { checkJobInput } from '../../src/job/job-input.js';
import { MAX_JOB_DATA_BYTES } from '../../src/job/limits.js';

t.test('defaults', async (t) => {
  const checked = checkJobInput({ data: {} });
  const expected = {
    id: undefined,
    channel: 'default',
    data: '{}',
    priority: 0,
    timeoutMs: undefined,
    attempts: 3,
    delayMs: 0,
    runAt: undefined,
    backoffMs: 1_000,
    backoff: 'exponential',
    name: undefined,
    group: undefined,
    parents: [],
    parentFailure: undefined,
    workgroup: undefined,
    key: undefined,
    keyWindowMs: undefined,
    weight: 1,
    seed: false,
    requires: '',
    persistent: false,
    meta: undefined,
  };
  t.strictSame(Object.keys(checked), jobFieldNames);
  for (const [field, value] of Object.entries(expected)) t.strictSame(checked[field as JobField], value, field);
});

t.test('falsy values are values', async (t) => {
  for (const data of [0, '', false, null, -0]) t.equal(checkJobInput({ data }).data, JSON.stringify(data));
  t.match(checkJobInput({ data: 0, priority: 0, timeoutMs: 0, delayMs: 0, backoffMs: 0, id: '0' }), {
    timeoutMs: 0,
    backoffMs: 0,
    id: '0',
  });
  t.match(checkJobInput({ data: 0, priority: undefined, id: undefined }), { priority: 0, id: undefined }, 'undefined is missing');
});

t.test('everything a job may say', async (t) => {
  const job = {
    id: 'é 😀/../x',
    data: [1],
    channel: 'c',
    priority: -1_000_000,
    timeoutMs: 1,
    attempts: 1,
    delayMs: 1,
    backoffMs: 3_600_000,
    backoff: 'fixed',
    name: 'N',
    group: 'g',
    parents: ['p', 'q', 'p'],
    parentFailure: 'run',
    workgroup: 'w',
    key: 'k',
    keyWindowMs: 0,
    weight: 0,
    seed: true,
    requires: ['b', 'a', 'b'],
    meta: 0,
  };
  t.match(checkJobInput(job), {
    ...job,
    data: '[1]',
    parents: ['p', 'q'],
    requires: 'a\nb',
    meta: '0',
    persistent: false,
  });
  t.match(checkJobInput({ data: 1, persistent: true, runAt: 5 }), { persistent: true, runAt: 5 });
  t.equal(checkJobInput({ data: { a: undefined, b: new Date(0) } }).data, '{"b":"1970-01-01T00:00:00.000Z"}');
});

const cycle: unknown[] = [];
cycle.push(cycle);
let deep: unknown = 1;
for (let depth = 0; depth < 200_000; depth += 1) deep = [deep];

class Hidden {
  #value = 1;
  get value() {
    return this.#value;
  }
}

const refused: readonly (readonly [unknown, RegExp])[] = [
  [undefined, /not an object/],
  [null, /not an object/],
  [[], /not an object/],
  ['job', /not an object/],
  [{}, /data is missing/],
  [{ data: undefined }, /data is missing/],
  [{ data: 1, prio: 1 }, /no field "prio"/],
  [{ data: 1, timeout: 1 }, /no field "timeout"/],
  [{ data: 1, [`x${'y'.repeat(500)}`]: 1 }, /no field "xy+…"/],
  [{ data: 1, id: '' }, /id is empty/],
  [{ data: 1, id: 7 }, /id is not a string/],
  [{ data: 1, id: null }, /id is not a string/],
  [{ data: 1, id: 'x'.repeat(201) }, /id has more than 200/],
  [{ data: 1, id: 'a\0b' }, /id holds control/],
  [{ data: 1, id: '\ud800' }, /id holds control/],
  [{ data: 1, channel: '' }, /channel is empty/],
  [{ data: 1, channel: 'x'.repeat(101) }, /channel has more than 100/],
  [{ data: 1, priority: 1.5 }, /priority is not an integer from -1000000 to 1000000/],
  [{ data: 1, priority: 1_000_001 }, /priority/],
  [{ data: 1, priority: '1' }, /priority/],
  [{ data: 1, priority: null }, /priority/],
  [{ data: 1, timeoutMs: -1 }, /timeoutMs/],
  [{ data: 1, timeoutMs: 2 ** 31 }, /timeoutMs/],
  [{ data: 1, attempts: 0 }, /attempts is not an integer from 1/],
  [{ data: 1, attempts: Number.NaN }, /attempts/],
  [{ data: 1, delayMs: -1 }, /delayMs/],
  [{ data: 1, delayMs: Number.POSITIVE_INFINITY }, /delayMs/],
  [{ data: 1, backoffMs: 3_600_001 }, /backoffMs/],
  [{ data: () => {} }, /data is a function/],
  [{ data: { a: [1, { b: 1n }] } }, /data\.a\[1\]\.b is a bigint/],
  [{ data: [Number.NaN] }, /data\[0\] is NaN/],
  [{ data: [undefined] }, /data\[0\] is undefined/],
  [{ data: { a: Symbol('x') } }, /data\.a is a symbol/],
  [{ data: new Map() }, /data is a Map/],
  [{ data: { a: new Uint8Array(2) } }, /data\.a is a Uint8Array/],
  [{ data: { headers: new Headers({ a: 'b' }) } }, /data\.headers is a Headers/],
  [{ data: new URLSearchParams('a=b') }, /data is a URLSearchParams/],
  [{ data: { a: new Hidden() } }, /data\.a is a Hidden, of which JSON keeps nothing/],
  [{ data: [new Date(Number.NaN)] }, /data\[0\] is an invalid Date/],
  [{ data: { toJSON: () => undefined } }, /data is not JSON: it becomes undefined/],
  [{ data: cycle }, /nested more than 500 deep, or refers to itself/],
  [{ data: deep }, /nested more than 500 deep/],
  [{ data: 'x'.repeat(MAX_JOB_DATA_BYTES) }, /data has more than 8388608 bytes/],
  [{ data: 'é'.repeat(MAX_JOB_DATA_BYTES / 2) }, /data has more than/],
];

t.test('what is refused, and why', async (t) => {
  for (const [input, reason] of refused) t.throws(() => checkJobInput(input), { code: 'job-invalid', message: reason }, String(reason));
  t.doesNotThrow(() => checkJobInput({ data: 'x'.repeat(MAX_JOB_DATA_BYTES - 2) }));
  t.doesNotThrow(() => checkJobInput({ data: 'é'.repeat(MAX_JOB_DATA_BYTES / 2 - 1) }));
});
