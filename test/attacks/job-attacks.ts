import type { Attack } from './attack.js';

const jobs = (group: Attack['group'], evidence: Attack['evidence'], control: Attack['control']) => {
  return (name: string, body: string, more: Partial<Attack> = {}): Attack => ({
    ...{ name, group, body, evidence, wall: false },
    ...(control !== undefined && { control }),
    ...more,
  });
};

/** That they work without a limit is plain, and would harm this machine. */
const filling = jobs('memory and disk', 'unbounded', false);
const channel = jobs('the channel to the Worker', 'worker', false);
const toWorker = { expected: { container: 'n/a' } } as const;
const leaving = jobs('left behind', 'lasting', false);

export const fillingAttacks: readonly Attack[] = [
  filling('the heap', 'fills the heap'),
  filling('buffers', 'fills buffers'),
  filling('memory shared by threads', 'fills shared memory of JavaScript'),
  filling('memory of WebAssembly', 'fills memory of WebAssembly'),
  filling('strings', 'fills strings'),
  filling('/tmp in memory', 'fills a folder in memory', { w: () => ({ path: '/tmp' }), expected: { process: 'n/a' } }),
  filling('/dev/shm', 'fills a folder in memory', { w: () => ({ path: '/dev/shm' }) }),
  filling('the disk', 'fills the disk'),
  filling('the disk by one file', 'fills the disk with one file'),
  filling('the disk by a deleted file', 'fills the disk with a deleted file'),
  filling('the disk by files without end', 'makes files without end', { expected: { container: 'open' } }),
];

export const channelAttacks: readonly Attack[] = [
  channel('nonsense', 'writes nonsense', toWorker),
  channel('an answer nested 1,000,000 deep', 'answers deeply', toWorker),
  channel('an answer nested 4,400 deep', 'answers a little deep', toWorker),
  channel('progress nested 8,000 deep', 'reports deeply', toWorker),
  channel('progress of 4 MB, 40 times', 'reports progress of 4 MB', toWorker),
  channel('800 MB of log lines', 'reports 100,000 lines', toWorker),
  channel('progress that is none', 'reports what is no progress', toWorker),
  channel('a line without end', 'writes a line without end', toWorker),
  channel('two answers', 'answers twice', toWorker),
  channel('states of its own process', 'says ready again', toWorker),
  channel('closed pipes', 'closes its pipes', toWorker),
  channel('a spoiled fence', 'fills the fence', toWorker),
  channel('a flood on stdout', 'floods its output'),
  channel('control characters', 'prints control characters', { w: ({ mark }) => ({ mark }) }),
  channel('a prototype in its output', 'returns a prototype'),
  channel('an exit', 'exits'),
  channel('an abort', 'aborts'),
  channel('an exception in another turn', 'throws in another turn'),
  channel('a stack without end', 'ends by a stack without end'),
  channel('a loop without end', 'loops for ever'),
  channel('a loop that ignores signals', 'ignores its end'),
  channel('a loop at its exit', 'hangs when it ends'),
];

export const leavingAttacks: readonly Attack[] = [
  leaving('a chain of folders longer than a path may be', 'leaves a chain of folders'),
  leaving('names that are no text', 'leaves names that are no text'),
  leaving('folders without rights', 'leaves folders without rights'),
  leaving('links to a folder of the owner', 'leaves a link to files of the owner', { w: ({ canary }) => ({ folder: canary.folder }) }),
  leaving('a link in place of its folder', 'leaves its folder swapped for a link', { w: ({ canary }) => ({ folder: canary.folder }) }),
  leaving('5,000 files', 'leaves many files'),
  leaving('an immutable file', 'leaves an immutable file'),
  leaving('a socket and a file with a hole', 'leaves a socket and a hole'),
  leaving('a working directory that is gone', 'leaves a working directory that is gone'),
  leaving('names that look like options', 'leaves a name that is an option'),
];

const NONE = { container: 'n/a' } as const;
/** docs/tasks.md: what a task leaves running in its process goes on, as do its own variables. `"process": "per-job"` is for tasks that want it otherwise. */
const goesOn: ReadonlySet<string> = new Set(['a timer that goes on', 'a server that goes on', 'the title of the process']);
/** Code that one job runs to read the data of the next, or to spoil it: test/fixtures/attacks/between.cjs. */
export const betweenAttacks: readonly Attack[] = [
  'JSON.parse',
  'JSON.stringify',
  'Array.prototype.push and shift',
  'String.prototype.split and startsWith',
  'Buffer.prototype.toString',
  'EventEmitter.prototype.emit',
  'Promise.prototype.then',
  'Object.prototype, setters of it',
  'Reflect and Function.prototype.call',
  'a timer that reads the pipe of commands',
  'a listener on the pipe of commands',
  'an answer for a job to come',
  'process.env',
  'console',
  'process.stdout',
  'fetch and timers of the global object',
  'a timer that goes on',
  'listeners of process',
  'a server that goes on',
  'files in its folder',
  'the working directory',
  'the mask of new files',
  'the title of the process',
].map(
  (name): Attack => ({
    name,
    group: 'between jobs',
    body: name,
    evidence: 'done',
    control: false,
    wall: false,
    expected: goesOn.has(name) ? { ...NONE, process: 'open', bwrap: 'open' } : NONE,
  }),
);

export const jobAttacks: readonly Attack[] = [...fillingAttacks, ...channelAttacks, ...leavingAttacks, ...betweenAttacks];
