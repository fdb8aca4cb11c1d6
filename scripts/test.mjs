// Runs the compiled test files, each a tap program of its own, several at a time. Prints one line per file, the complete TAP of
// those that fail, and the totals at the very end. Does not use tap's own runner: its TypeScript plugin, which is loaded into every
// file, does not work with TypeScript 7.
//
//   node scripts/test.mjs               everything but `*.long.test.ts` and test/chaos
//   node scripts/test.mjs --long        the `*.long.test.ts`, which inherently take minutes
//   node scripts/test.mjs --chaos       test/chaos
//   node scripts/test.mjs --fuzz        test/fuzz with a million seeded inputs instead of the 50,000 of every run
//   node scripts/test.mjs swarm ledger  the files whose path contains one of the words, long or not
//   node scripts/test.mjs --record      everything but test/chaos, and records how long each took
//   node scripts/test.mjs --rerun       reruns failed files at the end, alone; they count as failed only if they fail again
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Timeouts in seconds for one `t.test` and one file, unless it sets its own. They only bound hangs, since the machine may be busy. */
const TEST_TIMEOUT_S = 1_200;
/** Also only a bound: a fresh clone that installs and builds on a busy machine takes a quarter of an hour. */
const FILE_TIMEOUT_MS = 1_800_000;
const LEFT_BEHIND_MS = 1_000;
/** Files that take at least this long start before the others. */
const RECORDED_S = 10;
/** With `--rerun`: if more files fail, it is not by chance. */
const RERUN_FILES = 4;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const flags = new Set(process.argv.slice(2).filter((word) => word.startsWith('--')));
const [chaos, fuzz, record, rerun] = ['--chaos', '--fuzz', '--record', '--rerun'].map((flag) => flags.has(flag));
if (fuzz) process.env.PEERWORK_FUZZ_INPUTS ??= '1000000';
const words = [...(fuzz ? ['fuzz/'] : []), ...process.argv.slice(2).filter((word) => !flags.has(word))];

/** Duration of the longest files on two idle cores, in seconds, by path below test/. Only determines the order. */
const recordFile = join(root, 'test', 'durations.json');
const recorded = JSON.parse(readFileSync(recordFile, 'utf8'));
const nameOf = (path) => relative(join('build', 'test'), path).split(sep).join('/').replace(/\.js$/, '.ts');
const secondsOf = (path) => recorded[nameOf(path)] ?? 0;
const depth = (path) => path.split(sep).length;
const isLong = (path) => path.endsWith('.long.test.js');

const queue = readdirSync(join(root, 'build', 'test'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
  .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
  .filter((path) => path.includes(`${sep}chaos${sep}`) === chaos)
  .filter((path) => chaos || record || words.length > 0 || isLong(path) === flags.has('--long'))
  .filter((path) => words.length === 0 || words.some((word) => `test/${nameOf(path)}`.includes(word)))
  .sort((a, b) => secondsOf(b) - secondsOf(a) || depth(b) - depth(a) || (a < b ? 1 : -1));

const total = { pass: 0, fail: 0, skip: 0, todo: 0 };
const seconds = {};
/** The failed files, each with its number of failures. */
let failed = [];
const running = new Set();
let cpuSeen = 0;
let cpuTotalS = 0;

function runFile(file) {
  return new Promise((resolve) => {
    const startedAt = Date.now();
    const env = { ...process.env, TAP_TIMEOUT: String(TEST_TIMEOUT_S), FORCE_COLOR: '0' };
    // In a process group of its own: leftovers of a dead file would otherwise keep its output open, and this script waiting.
    const options = { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true };
    const child = spawn(process.execPath, ['--enable-source-maps', file], options);
    running.add(child);
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), FILE_TIMEOUT_MS);
    let cpuS = 0;
    child.on('exit', () => {
      cpuS = cpuOfEnded();
      cpuTotalS += cpuS;
      setTimeout(() => killGroup(child.pid), LEFT_BEHIND_MS);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      report(file, { code, signal, text: Buffer.concat(output).toString(), ms: Date.now() - startedAt, cpuS });
      resolve();
    });
  });
}

/** CPU seconds of the processes that ended since the last call, including their awaited children. Linux only. */
function cpuOfEnded() {
  if (process.platform !== 'linux') return 0;
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
  const seen = (Number(fields[13]) + Number(fields[14])) / 100;
  const spent = seen - cpuSeen;
  cpuSeen = seen;
  return spent;
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing was left behind.
  }
}

function report(file, { code, signal, text, ms, cpuS }) {
  // tap's last summary counts all assertions and omits kinds that did not occur.
  const summary = text.match(/^# \{ total: .* \}$/gm)?.at(-1) ?? '';
  const count = (kind) => Number(new RegExp(`\\b${kind}: (\\d+)`).exec(summary)?.[1] ?? 0);
  const counts = { pass: count('pass'), fail: count('fail'), skip: count('skip'), todo: count('todo') };
  if (/^1\.\.0/m.test(text) && counts.skip === 0) counts.skip = 1; // `t.plan(0, 'why')`: the whole file
  if (code !== 0 && counts.fail === 0) counts.fail = 1; // it died before tap could say so
  for (const kind of Object.keys(total)) total[kind] += counts[kind];
  seconds[nameOf(file)] = Math.round(ms / 1000);
  const extra = ['fail', 'skip', 'todo'].filter((kind) => counts[kind] > 0).map((kind) => `, ${counts[kind]} ${kind}`);
  const how = code === 0 ? 'ok    ' : 'not ok';
  const took = `${(ms / 1000).toFixed(1)} s${cpuS > 0 ? `, ${cpuS.toFixed(1)} s of a processor` : ''}`;
  console.log(`${how} ${nameOf(file)}  ${counts.pass} pass${extra.join('')}  ${took}`);
  for (const line of text.match(/^ *(ok .* # SKIP .*|1\.\.0 # .*)$/gm) ?? [])
    console.log(`       skipped: ${line.replace(/.*# (SKIP )?/, '').trim()}`);
  if (code !== 0) {
    failed.push({ file, fails: counts.fail });
    // Briefly and first: a long log may be truncated in the middle.
    for (const line of text.match(/^ *not ok .*$/gm) ?? []) console.log(`       ${line.trim()}`);
    if (signal) console.log(`       ended by ${signal}${ms >= FILE_TIMEOUT_MS ? ': it took too long' : ''}`);
    console.log(text.replace(/^/gm, '       | '));
  }
}

async function lane(next) {
  for (let file = next(); file !== undefined; file = next()) await runFile(file);
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
// Some lanes begin with the longest files, and some with the house checks (test/*.test.ts), which take seconds and catch obvious
// mistakes. So the long ones, which mostly wait, never fill all lanes, and none of them is left for the end. With fewer lanes
// two cores were idle for a quarter of the time.
const cores = availableParallelism();
const startedAt = Date.now();
// Excludes what this process had run before it became Node.
cpuOfEnded();
await Promise.all([
  ...Array.from({ length: cores + 2 }, () => lane(() => queue.shift())),
  ...Array.from({ length: cores + 1 }, () => lane(() => queue.pop())),
]);
const unsteady = [];
if (rerun && failed.length <= RERUN_FILES && process.exitCode === undefined) {
  const first = failed;
  failed = [];
  for (const { file, fails } of first) {
    total.fail -= fails;
    console.log(`again, alone: ${nameOf(file)}`);
    await runFile(file);
    if (!failed.some((each) => each.file === file)) unsteady.push(file);
  }
}
if (record) {
  const worth = Object.entries(seconds).filter(([, each]) => each >= RECORDED_S);
  worth.sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(recordFile, `${JSON.stringify(Object.fromEntries(worth), undefined, 2)}\n`);
}
process.exitCode ||= total.fail > 0 ? 1 : 0;
const took = `${((Date.now() - startedAt) / 60_000).toFixed(1)} min${cpuTotalS > 0 ? `, ${(cpuTotalS / 60).toFixed(1)} min of a processor` : ''}`;
for (const file of unsteady) console.log(`unsteady, passed when run again alone: ${nameOf(file)}`);
for (const { file } of failed) console.log(`failed: ${nameOf(file)}`);
console.log(`\n${took}\n${total.pass} passed, ${total.fail} failed, ${total.skip} skipped`);
