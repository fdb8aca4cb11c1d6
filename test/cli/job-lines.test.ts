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
