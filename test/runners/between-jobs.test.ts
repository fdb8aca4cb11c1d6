import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Json, Progress } from '../../src/job/job.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';

/** Runs the code in its data, with some modules in scope. */
const TASK = `
  const fs = require('node:fs');
  const events = require('node:events');
  const stream = require('node:stream');
  const net = require('node:net');
  const seen = [];
  const AsyncFunction = (async () => {}).constructor;
  module.exports = (data, context) => {
    if (typeof data === 'string') return data;
    const names = { fs, events, stream, net, seen, context, data, require };
    return new AsyncFunction(...Object.keys(names), data.code)(...Object.values(names));
  };
`;

/** Each changes a built-in of JavaScript or Node, and records whatever then passes through it. */
const CHANGES = {
  'JSON.parse': 'const real = JSON.parse; JSON.parse = (text) => { seen.push(String(text)); return real(text); };',
  'JSON.stringify':
    'const real = JSON.stringify; JSON.stringify = (...all) => { const text = real(...all); seen.push(text); return text; };',
  'a getter for JSON.parse': `const real = JSON.parse;
    Object.defineProperty(JSON, 'parse', { get: () => (text) => { seen.push(String(text)); return real(text); } });`,
  'Array.prototype.shift':
    'const real = Array.prototype.shift; Array.prototype.shift = function () { seen.push(...this); return real.call(this); };',
  'Array.prototype.push':
    'const real = Array.prototype.push; Array.prototype.push = function (...all) { seen[seen.length] = all; return real.apply(this, all); };',
  'how arrays are looped over': `const real = Array.prototype[Symbol.iterator];
    Array.prototype[Symbol.iterator] = function () { seen[seen.length] = Object.assign({}, this); return real.call(this); };`,
  'String.prototype.split':
    'const real = String.prototype.split; String.prototype.split = function (by) { seen.push(String(this)); return real.call(this, by); };',
  'Function.prototype.call': `const { apply } = Reflect; const real = Function.prototype.call;
    Function.prototype.call = function (...all) { seen[seen.length] = all; return apply(real, this, all); };`,
  'Promise.prototype.then': `const { apply } = Reflect; const real = Promise.prototype.then;
    Promise.prototype.then = function (done, failed) { return apply(real, this, [(value) => { seen.push(value); return done ? done(value) : value; }, failed]); };`,
  'Object.prototype.toJSON':
    "Object.defineProperty(Object.prototype, 'toJSON', { configurable: true, value() { seen.push({ ...this }); return this; } });",
  'a setter for an index':
    "Object.defineProperty(Array.prototype, '7', { configurable: true, set(value) { seen[seen.length] = value; } });",
  'Buffer.from': 'const real = Buffer.from; Buffer.from = (...all) => { seen.push(all[0]); return real(...all); };',
  'Buffer.prototype.toString':
    'const real = Buffer.prototype.toString; Buffer.prototype.toString = function (...all) { const text = real.apply(this, all); seen.push(text); return text; };',
  'TextDecoder.prototype.decode':
    'const real = TextDecoder.prototype.decode; TextDecoder.prototype.decode = function (...all) { const text = real.apply(this, all); seen.push(text); return text; };',
  'Map.prototype.get': 'Map.prototype.get = function () {};',
  'fs.writeSync': 'const real = fs.writeSync; fs.writeSync = (...all) => { seen.push(String(all[1])); return real(...all); };',
  'fs.rmSync': 'fs.rmSync = () => {};',
  'process.kill': 'process.kill = () => true;',
  'EventEmitter.prototype.emit':
    'const real = events.prototype.emit; events.prototype.emit = function (...all) { seen.push(all.map(String)); return real.apply(this, all); };',
  'Readable.prototype.push':
    'const real = stream.Readable.prototype.push; stream.Readable.prototype.push = function (chunk) { seen.push(String(chunk)); return real.apply(this, arguments); };',
  'Socket.prototype.emit':
    'net.Socket.prototype.emit = function (...all) { seen.push(all.map(String)); return events.prototype.emit.apply(this, all); };',
  'a global': 'globalThis.setTimeout = () => {};',
} as const;

class Stage {
  readonly #runner: TaskModuleRunner;
  readonly #folder: string;

  static async set(t: Test): Promise<Stage> {
    const folder = t.testdir({ task: { 'task.cjs': TASK } });
    const options = { concurrency: 1, memoryMb: 192, scratchFolder: join(folder, 'scratch'), sandbox: 'off' } as const;
    const runner = await TaskModuleRunner.start(options);
    t.teardown(() => runner.close());
    return new Stage(runner, join(folder, 'task'));
  }

  constructor(runner: TaskModuleRunner, folder: string) {
    this.#runner = runner;
    this.#folder = folder;
  }

  async run(data: Json, reports: Progress[] = []): Promise<unknown> {
    const outcome = await this.#runner.run(
      { id: 'a', channel: 'default', data, attempt: 1, timeoutMs: 20_000 },
      {
        workplace: { digest: 'a', folder: this.#folder, entry: 'task.cjs', readable: [this.#folder] },
        signal: new AbortController().signal,
        report: (progress) => reports.push(progress),
      },
    );
    return outcome.state === 'completed' ? outcome.output : outcome;
  }

  code(code: string, reports: Progress[] = []): Promise<unknown> {
    return this.run({ code }, reports);
  }
}

t.test('a process in which a job has changed what comes with JavaScript or Node serves no further job', async (t) => {
  const stage = await Stage.set(t);
  for (const [name, change] of Object.entries(CHANGES)) {
    const before = await stage.code('return process.pid');
    t.equal(await stage.code('return process.pid'), before, `${name}: as long as nothing has changed it stays`);
    t.equal(await stage.code(`${change} return 'changed'`), 'changed');
    t.not(await stage.code('return process.pid'), before, name);
    t.same(await stage.code('return seen'), [], 'and nothing of the job before is there');
  }
});

t.test('nothing that a job replaces lets it see the jobs that were handed ahead', async (t) => {
  const stage = await Stage.set(t);
  // The runner learns that jobs are short, and queues several ahead.
  for (let at = 0; at < 40; at += 1) await stage.run('short');
  for (const [name, change] of Object.entries(CHANGES)) {
    if (name === 'a global') continue;
    const spying = stage.code(`${change}
      const { apply } = Reflect;
      await new Promise((resolve) => setTimeout(resolve, 120));
      return require('node:util').inspect(seen, { depth: 5, maxArrayLength: null, maxStringLength: null });`);
    const others = Array.from({ length: 5 }, (_, at) => stage.run(`secret-${at}`));
    t.notMatch(await spying, /secret-/, name);
    t.same(
      await Promise.all(others),
      [0, 1, 2, 3, 4].map((at) => `secret-${at}`),
    );
    for (let at = 0; at < 5; at += 1) await stage.run('short');
  }
});

t.test('what was returned lies in no buffer that the next job gets from Node', async (t) => {
  const stage = await Stage.set(t);
  await stage.run('a secret result');
  const found = await stage.code("return Buffer.from(Buffer.from('x').buffer).includes('a secret ' + 'result')");
  t.equal(found, false);
});

t.test('environment, console, output, listeners, umask, exit code and folder are as before for the next job', async (t) => {
  const stage = await Stage.set(t);
  const look = `return {
    pid: process.pid, added: process.env.ADDED, home: process.env.HOME !== undefined, env: Object.keys(process.env).sort(),
    log: String(console.log).includes('stolen'), extra: console.extra, listeners: process.listenerCount('warning') + process.listenerCount('added'),
    umask: process.umask(), exitCode: process.exitCode, folder: process.cwd() === context.workdir, left: fs.readdirSync('.'), limit: Error.stackTraceLimit,
    write: Object.hasOwn(process.stdout, 'write'),
  };`;
  const before = await stage.code(look);
  t.equal(
    await stage.code(`
      process.env.ADDED = '1'; delete process.env.HOME; process.env = { only: 'mine' };
      console.log = function stolen() {}; console.extra = 1; console.table = undefined;
      process.on('warning', () => {}); process.on('added', () => {}); process.umask(0); process.exitCode = 7;
      process.stdout.write = function stolen() {};
      fs.mkdirSync('inner'); process.chdir('inner'); Error.stackTraceLimit = 0; Error.prepareStackTrace = () => 'stolen';
      return 'done';`),
    'done',
  );
  t.same(await stage.code(look), before, 'in the same process');
  t.equal(await stage.code("try { null.x } catch (error) { return error.stack.includes('stolen') }"), false);
  const reports: Progress[] = [];
  await stage.code("console.log('said'); console.table([1]); process.env.ADDED = 'x'; globalThis.console = { log() {} };", reports);
  t.match(reports[0], { line: 'said' });
  t.same(await stage.code(look), before);
});

t.test('what a job leaves running does not speak for the next', async (t) => {
  const stage = await Stage.set(t);
  await stage.code("setInterval(() => { context.log('still here'); context.progress(1); context.spawn({ data: 1 }); }, 1); return 1;");
  const reports: Progress[] = [];
  t.equal(await stage.code('await new Promise((resolve) => setTimeout(resolve, 50)); return 2;', reports), 2);
  t.same(reports, []);
});
