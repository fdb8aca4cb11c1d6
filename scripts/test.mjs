// Runs the compiled test files (each a tap program of its own), two at a time, the quick house checks first. Prints one line
// a file, the whole TAP of those that fail, and at the very end how it went. Not through tap's own runner: its TypeScript
// plugin, which is loaded into every file, does not work with TypeScript 7.
// `--fuzz` sends a million seeded inputs instead of the 50,000 of every run.
// `npm test -- swarm ledger` runs only the files whose path contains one of the words.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const FILES_AT_ONCE = 2;
/** Seconds for one `t.test`, unless it sets its own. */
const TEST_TIMEOUT_S = 300;
/** Only bounds what hangs: a fresh clone that installs and builds on a busy machine takes a quarter of an hour. */
const FILE_TIMEOUT_MS = 1_800_000;
const LEFT_BEHIND_MS = 1_000;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const chaos = process.argv.includes('--chaos');
const fuzz = process.argv.includes('--fuzz');
if (fuzz) process.env.PEERWORK_FUZZ_INPUTS ??= '1000000';
const words = [...(fuzz ? [join('test', 'fuzz')] : []), ...process.argv.slice(2).filter((word) => !word.startsWith('--'))];
const depth = (path) => path.split(/[\\/]/).length;
const queue = readdirSync(join(root, 'build', 'test'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
  .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
  // test/chaos takes its time: `npm run test:chaos`.
  .filter((path) => /[\\/]chaos[\\/]/.test(path) === chaos)
  .filter((path) => words.length === 0 || words.some((word) => path.includes(word)))
  .sort((a, b) => depth(a) - depth(b) || (a < b ? -1 : 1));

const total = { pass: 0, fail: 0, skip: 0, todo: 0 };
const running = new Set();

function runFile(file) {
  return new Promise((resolve) => {
    const startedAt = Date.now();
    const env = { ...process.env, TAP_TIMEOUT: String(TEST_TIMEOUT_S), FORCE_COLOR: '0' };
    // A group of its own: what a file that died has left behind would else keep its output open, and this waiting.
    const options = { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true };
    const child = spawn(process.execPath, ['--enable-source-maps', file], options);
    running.add(child);
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), FILE_TIMEOUT_MS);
    child.on('exit', () => setTimeout(() => killGroup(child.pid), LEFT_BEHIND_MS));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      report(file, { code, signal, text: Buffer.concat(output).toString(), ms: Date.now() - startedAt });
      resolve();
    });
  });
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing was left behind.
  }
}

function report(file, { code, signal, text, ms }) {
  // tap's last summary counts every assertion; a kind that did not occur is left out of it.
  const summary = text.match(/^# \{ total: .* \}$/gm)?.at(-1) ?? '';
  const count = (kind) => Number(new RegExp(`\\b${kind}: (\\d+)`).exec(summary)?.[1] ?? 0);
  const counts = { pass: count('pass'), fail: count('fail'), skip: count('skip'), todo: count('todo') };
  if (/^1\.\.0/m.test(text) && counts.skip === 0) counts.skip = 1; // `t.plan(0, 'why')`: the whole file
  if (code !== 0 && counts.fail === 0) counts.fail = 1; // it died before tap could say so
  for (const kind of Object.keys(total)) total[kind] += counts[kind];
  const extra = ['fail', 'skip', 'todo'].filter((kind) => counts[kind] > 0).map((kind) => `, ${counts[kind]} ${kind}`);
  const how = code === 0 ? 'ok    ' : 'not ok';
  console.log(`${how} ${file.replace(/^build.test./, '')}  ${counts.pass} pass${extra.join('')}  ${(ms / 1000).toFixed(1)} s`);
  for (const line of text.match(/^ *(ok .* # SKIP .*|1\.\.0 # .*)$/gm) ?? [])
    console.log(`       skipped: ${line.replace(/.*# (SKIP )?/, '').trim()}`);
  if (code !== 0) {
    if (signal) console.log(`       ended by ${signal}${ms >= FILE_TIMEOUT_MS ? ': it took too long' : ''}`);
    console.log(text.replace(/^/gm, '       | '));
  }
}

async function lane() {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) await runFile(file);
}

if (queue.length === 0) {
  console.error(`test: no test file matches ${words.join(' ')}`);
  process.exit(2);
}
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    for (const child of running) killGroup(child.pid);
    queue.length = 0;
    process.exitCode = 130;
  });
// The house checks (test/*.test.ts) come first: they take seconds and say what is plainly wrong.
await Promise.all(Array.from({ length: FILES_AT_ONCE }, lane));
process.exitCode ||= total.fail > 0 ? 1 : 0;
console.log(`\n${total.pass} passed, ${total.fail} failed, ${total.skip} skipped`);
