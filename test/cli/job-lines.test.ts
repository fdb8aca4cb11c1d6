import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkJobFile, type JobLine, readJobLines } from '../../src/cli/job-lines.js';

async function read(...chunks: (string | Uint8Array)[]): Promise<JobLine[]> {
  const found: JobLine[] = [];
  const bytes = chunks.map((chunk) => (typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk));
  for await (const line of readJobLines(
    (async function* () {
      yield* bytes;
    })(),
  ))
    found.push(line);
  return found;
}

t.test('a job a line, wherever the stream is cut', async (t) => {
  const text =
    '{"id":"ä\u2028b","data":{"text":"ü"}}\r\n\n  \n{"data":null,"channel":"x","priority":-2,"timeoutMs":5,"attempts":1,"delayMs":3,"backoffMs":4}';
  const whole = await read(text);
  t.match(whole, [
    { line: 1, job: { id: 'ä\u2028b', data: { text: 'ü' } } },
    { line: 4, job: { data: null, channel: 'x', priority: -2, timeoutMs: 5, attempts: 1, delayMs: 3, backoffMs: 4 } },
  ]);
  const bytes = new TextEncoder().encode(text);
  const single = Array.from(bytes, (byte) => new Uint8Array([byte]));
  t.same(await read(...single), whole, 'byte by byte');
});

t.test('a missing id is made of the line and its place: the same file gives the same ids', async (t) => {
  const ids = (lines: JobLine[]) => lines.map((line) => ('job' in line ? line.job.id : ''));
  const once = ids(await read('{"data":1}\n{"data":1}\n'));
  t.match(once, [/^1-[0-9a-f]{16}$/, /^2-[0-9a-f]{16}$/]);
  t.same(ids(await read('{"data":1}\r\n{"data":1}')), once, 'also with other line ends');
  t.not(ids(await read('{"data":2}'))[0], once[0]);
});

t.test('a bad line says why, the others are read on', async (t) => {
  const lines = await read('[1]\n{"data":1}\n{"data":1,"attempts":0}\n{"id":"","data":1}\n{"data":');
  t.match(lines, [
    { line: 1, problem: 'it is not an object' },
    { line: 2, job: { data: 1 } },
    { line: 3, problem: /^attempts is not an integer from 1/ },
    { line: 4, problem: 'id is empty' },
    { line: 5, problem: /^is not JSON/ },
  ]);
});

t.test('what would be altered is refused with its place', async (t) => {
  const latin1 = Buffer.from('{"data":"caf\u00e9"}\n', 'latin1');
  const lines = await read(
    '{"data":{"id":9007199254740993}}\n',
    latin1,
    Buffer.from('\ufeff{"data":1}\n', 'utf16le'),
    '\n{"data":"\ud83d\ude00"}',
  );
  t.match(lines, [
    { line: 1, problem: /the number 9007199254740993 at data\.id \(column 15\) would become 9007199254740992: write it as a string/ },
    { line: 2, problem: 'not UTF-8: byte 0xe9 at offset 12' },
    { line: 3, problem: /UTF-16: save it as UTF-8/ },
    { line: 4, problem: String },
    { line: 5, job: { data: '😀' } },
  ]);
  t.match(await read('\ufeff{"data":"a byte order mark before the text is none of it"}'), [{ line: 1, job: {} }]);
});

t.test('nothing is read ahead of the reader', async (t) => {
  let produced = 0;
  const endless = (async function* () {
    for (;;) {
      produced += 1;
      yield new TextEncoder().encode(`{"data":${produced}}\n`);
    }
  })();
  let count = 0;
  for await (const _ of readJobLines(endless)) {
    count += 1;
    if (count === 10) break;
  }
  t.equal(produced, 10);
});

t.test('a long list of bad lines is cut short', async (t) => {
  const file = join(t.testdir(), 'jobs.ndjson');
  writeFileSync(file, 'x\n'.repeat(25));
  await t.rejects(checkJobFile(file, new Set(['default'])), { code: 'job-invalid', message: /line 10:[\s\S]*and 15 more/ });
});

t.test('a job that is too large, too long or too deep is told under a code of its own, with its line and the limit', async (t) => {
  const file = join(t.testdir(), 'jobs.ndjson');
  const deep = (levels: number) => `{"data":${'['.repeat(levels)}${']'.repeat(levels)}}`;
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['a line that is too long', `{"data":"${'x'.repeat(9 * 1024 * 1024)}"}`, /line 2: more than \d+ bytes/],
    ['data that is too large', `{"data":"${'x'.repeat(8 * 1024 * 1024)}"}`, /line 2: data has more than 8388608 bytes/],
    ['data that is a little too deep', deep(505), /line 2: data.* nested more than 500 deep/],
    ['a line that is much too deep', deep(5_000), /line 2: cannot be used: JSON nested more than 512 deep/],
  ];
  for (const [what, line, message] of cases) {
    writeFileSync(file, `{"data":1}\n${line}\n`);
    const refused = await checkJobFile(file, new Set(['default'])).then(
      () => 'taken',
      (error: Error) => error,
    );
    t.match(refused, { code: 'job-too-large', message }, what);
    t.notMatch((refused as Error).message, /not JSON:/, what);
  }
  writeFileSync(file, `${deep(505)}\n{"data":\n`);
  await t.rejects(
    checkJobFile(file, new Set(['default'])),
    { code: 'job-invalid', message: /line 2: is not JSON/ },
    'among others it is one of them',
  );
  writeFileSync(file, '{"data":{"at":"https://example.org/large.bin"}}\n');
  t.equal((await checkJobFile(file, new Set(['default']))).size, 1, 'the place of it instead is taken');
});
