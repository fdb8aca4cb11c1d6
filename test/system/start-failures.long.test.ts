import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type ErrorCode, errorTable } from '../../src/errors.js';
import { freePort } from '../lab/free-port.js';
import { Grid, type Program } from '../lab/grid.js';
import { removeFolder } from '../lab/remove-folder.js';
import { requireThat, requireTools } from '../lab/require.js';

/** A user id without an account on any machine: root would not be refused anything. */
const ORDINARY = 61_999;
const isRoot = process.getuid?.() === 0;

type CommandName = 'master' | 'worker' | 'tracker';
interface Place {
  readonly folder: string;
  readonly grid: Grid;
  /** Returns a path in the folder. */
  at(...parts: string[]): string;
  /** Gives existing files to the ordinary user. */
  own(...parts: string[]): void;
  /** Starts a Master, or another program that has to run meanwhile. */
  start(...args: string[]): Program;
  readonly t: Test;
}
type Args = readonly string[];
interface Failure {
  readonly what: string;
  readonly code: ErrorCode;
  readonly command: CommandName;
  readonly args?: Args;
  /** Creates the situation; returns the arguments. */
  readonly prepare?: (place: Place) => Args | undefined | Promise<Args | undefined>;
  /** Applies the remedy from the message; returns the arguments from then on. */
  readonly remedy: (place: Place) => Args | undefined | Promise<Args | undefined>;
  /** A shell line that root runs in a mount namespace before the command, in its folder; `$AFTER` is set once the remedy is applied. */
  readonly mounted?: string;
  /** Must match the printed remedy that is applied here. */
  readonly said: RegExp;
}

const mode =
  (bits: number, ...parts: string[]) =>
  ({ at }: Place) =>
    chmodSync(at(...parts), bits) as undefined;
const away =
  (...parts: string[]) =>
  ({ at }: Place) =>
    renameSync(at(...parts), at('away')) as undefined;
const write =
  (name: string, content: string | Uint8Array, bits = 0o600) =>
  ({ at, own }: Place) => {
    writeFileSync(at(name), content);
    chmodSync(at(name), bits);
    own(name);
    return undefined;
  };
const folder =
  (name: string, bits = 0o700) =>
  ({ at, own }: Place) => {
    mkdirSync(at(name), { mode: bits });
    own(name);
    return undefined;
  };
/** A folder that no longer belongs to the ordinary user. */
const foreign =
  (name: string) =>
  ({ at }: Place) =>
    mkdirSync(at(name), { mode: 0o755 }) as unknown as undefined;
const READ_ONLY = 'mkdir -p mnt; mount -t tmpfs -o mode=777 none mnt; [ -n "$AFTER" ] || mount -o remount,ro mnt';
const FULL =
  'mkdir -p mnt; mount -t tmpfs -o mode=777,size=16384k none mnt; [ -n "$AFTER" ] || head -c 16777216 /dev/zero > mnt/large || true';
const JOB = '{"data":1}\n';

const failures: readonly Failure[] = [
  // The key of a Master.
  {
    what: 'a key file that this user may not read',
    code: 'file-denied',
    command: 'master',
    prepare: write('key.json', '{}', 0),
    args: ['--key-file', 'key.json'],
    remedy: ({ at }) => rmSync(at('key.json')) as undefined,
    said: /chmod/,
  },
  {
    what: 'a key file that others may read',
    code: 'key-file-open',
    command: 'master',
    args: ['--key-file', 'key.json'],
    prepare: async (place) => {
      await makeKey(place);
      chmodSync(place.at('key.json'), 0o644);
      return undefined;
    },
    remedy: mode(0o600, 'key.json'),
    said: /chmod 600/,
  },
  {
    what: 'a key file that is damaged',
    code: 'key-file-unusable',
    command: 'master',
    prepare: write('key.json', '{"peerworkKey":1'),
    args: ['--key-file', 'key.json'],
    remedy: away('key.json'),
    said: /move it away/,
  },
  {
    what: 'a folder in the place of a key file',
    code: 'path-is-folder',
    command: 'master',
    prepare: folder('key.json'),
    args: ['--key-file', 'key.json'],
    remedy: away('key.json'),
    said: /move the folder away/,
  },
  {
    what: 'a key file below a file',
    code: 'path-through-file',
    command: 'master',
    prepare: write('keys', ''),
    args: ['--key-file', 'keys/key.json'],
    remedy: away('keys'),
    said: /Move that file away/,
  },
  {
    what: 'a key file where this user may not write',
    code: 'file-denied',
    command: 'master',
    prepare: foreign('keys'),
    args: ['--key-file', 'keys/key.json'],
    remedy: ({ own }) => own('keys') as undefined,
    said: /chown/,
  },
  {
    what: 'a key file on a file system that is only read',
    code: 'file-system-read-only',
    command: 'master',
    mounted: READ_ONLY,
    args: ['--key-file', 'mnt/key.json'],
    remedy: () => undefined,
    said: /remount,rw/,
  },
  // The ledger.
  {
    what: 'a ledger that may only be read',
    code: 'file-denied',
    command: 'master',
    prepare: write('jobs.db', '', 0o400),
    args: ['--ledger', 'sqlite:jobs.db'],
    remedy: mode(0o600, 'jobs.db'),
    said: /chmod/,
  },
  {
    what: 'a ledger in a folder of somebody else',
    code: 'file-denied',
    command: 'master',
    prepare: foreign('theirs'),
    args: ['--ledger', 'sqlite:theirs/jobs.db'],
    remedy: () => ['--ledger', 'sqlite:jobs.db'],
    said: /choose another path/,
  },
  {
    what: 'a folder in the place of a ledger',
    code: 'path-is-folder',
    command: 'master',
    prepare: folder('jobs.db'),
    args: ['--ledger', 'sqlite:jobs.db'],
    remedy: away('jobs.db'),
    said: /move the folder away/,
  },
  {
    what: 'a ledger that is none',
    code: 'ledger-damaged-file',
    command: 'master',
    prepare: write('jobs.db', 'notes, and no ledger at all\n'.repeat(200)),
    args: ['--ledger', 'sqlite:jobs.db'],
    remedy: away('jobs.db'),
    said: /move it away/,
  },
  {
    what: 'a ledger on a file system that is only read',
    code: 'file-system-read-only',
    command: 'master',
    mounted: READ_ONLY,
    args: ['--ledger', 'sqlite:mnt/jobs.db', '--key-file', 'key.json'],
    remedy: () => undefined,
    said: /remount,rw/,
  },
  {
    what: 'a ledger on a full disk',
    code: 'disk-full',
    command: 'master',
    mounted: FULL,
    args: ['--ledger', 'sqlite:mnt/jobs.db', '--key-file', 'key.json'],
    remedy: () => undefined,
    said: /Free some space/,
  },
  {
    what: 'a ledger that another Master works on',
    code: 'ledger-locked',
    command: 'master',
    args: ['--ledger', 'sqlite:jobs.db'],
    prepare: async (place) => {
      await place.start(...MASTER, '--ledger', 'sqlite:jobs.db').line(/^Token: /);
      return undefined;
    },
    remedy: async ({ grid }) => {
      await Promise.all(grid.programs.map((program) => program.stop()));
      return undefined;
    },
    said: /Stop that process/,
  },
  // Task, input and output.
  {
    what: 'a task folder that is not there',
    code: 'task-folder-missing',
    command: 'master',
    args: ['--task', 'tusk'],
    remedy: () => [],
    said: /--task/,
  },
  {
    what: 'a task folder that this user may not open',
    code: 'file-denied',
    command: 'master',
    prepare: mode(0o000, 'task'),
    remedy: mode(0o755, 'task'),
    said: /chmod/,
  },
  {
    what: 'a file of a task that this user may not read',
    code: 'file-denied',
    command: 'master',
    prepare: mode(0o000, 'task', 'task.js'),
    remedy: mode(0o644, 'task', 'task.js'),
    said: /chmod/,
  },
  {
    what: 'an input that is not there',
    code: 'file-missing',
    command: 'master',
    args: ['--input', 'jobs.ndjson'],
    remedy: write('jobs.ndjson', JOB),
    said: /fix the path/,
  },
  {
    what: 'an input that this user may not read',
    code: 'file-denied',
    command: 'master',
    prepare: write('jobs.ndjson', JOB, 0),
    args: ['--input', 'jobs.ndjson'],
    remedy: mode(0o600, 'jobs.ndjson'),
    said: /chmod/,
  },
  {
    what: 'a folder in the place of an input',
    code: 'path-is-folder',
    command: 'master',
    prepare: write('jobs.ndjson', JOB),
    args: ['--input', 'task'],
    remedy: () => ['--input', 'jobs.ndjson'],
    said: /Choose another path/,
  },
  {
    what: 'a job that is too large',
    code: 'job-too-large',
    command: 'master',
    prepare: write('jobs.ndjson', `{"data":"${'x'.repeat(9_000_000)}"}\n`),
    args: ['--input', 'jobs.ndjson'],
    remedy: write('jobs.ndjson', '{"data":"large.bin"}\n'),
    said: /only its location/,
  },
  {
    what: 'an output that may only be read',
    code: 'file-denied',
    command: 'master',
    prepare: write('out.ndjson', '', 0o400),
    args: ['--output', 'out.ndjson'],
    remedy: mode(0o600, 'out.ndjson'),
    said: /chmod/,
  },
  {
    what: 'a folder in the place of an output',
    code: 'path-is-folder',
    command: 'master',
    prepare: folder('out.ndjson'),
    args: ['--output', 'out.ndjson'],
    remedy: away('out.ndjson'),
    said: /move the folder away/,
  },
  {
    what: 'an output in a folder that is not there',
    code: 'file-missing',
    command: 'master',
    args: ['--output', 'none/out.ndjson'],
    remedy: folder('none'),
    said: /mkdir -p/,
  },
  // Variables.
  {
    what: 'a .env in UTF-16',
    code: 'dotenv-encoding',
    command: 'master',
    prepare: write('.env', Buffer.from('\ufeffname=here\n', 'utf16le')),
    remedy: ({ at }) => writeFileSync(at('.env'), execFileSync('iconv', ['-f', 'UTF-16', '-t', 'UTF-8', at('.env')])) as undefined,
    said: /iconv -f UTF-16 -t UTF-8/,
  },
  {
    what: 'a .env that this user may not read',
    code: 'file-denied',
    command: 'worker',
    prepare: write('.env', '', 0),
    remedy: mode(0o600, '.env'),
    said: /chmod/,
  },
  {
    what: 'a folder in the place of a .env',
    code: 'path-is-folder',
    command: 'worker',
    prepare: folder('.env'),
    remedy: away('.env'),
    said: /move the folder away/,
  },
  // The home of a Worker.
  {
    what: 'a home that is a file',
    code: 'path-through-file',
    command: 'worker',
    prepare: write('home', ''),
    args: ['--home', 'home'],
    remedy: away('home'),
    said: /Move that file away/,
  },
  {
    what: 'a home of somebody else',
    code: 'file-denied',
    command: 'worker',
    prepare: foreign('home'),
    args: ['--home', 'home'],
    remedy: ({ own }) => own('home') as undefined,
    said: /chown/,
  },
  {
    what: 'a home on a file system that is only read',
    code: 'file-system-read-only',
    command: 'worker',
    mounted: READ_ONLY,
    args: ['--home', 'mnt/home'],
    remedy: () => undefined,
    said: /remount,rw/,
  },
  {
    what: 'a home on a full disk',
    code: 'disk-full',
    command: 'worker',
    mounted: FULL,
    args: ['--home', 'mnt/home'],
    remedy: () => undefined,
    said: /Free some space/,
  },
  {
    what: 'a home behind links in a circle',
    code: 'path-loop',
    command: 'worker',
    prepare: ({ at }) => symlinkSync('home', at('home')) as undefined,
    args: ['--home', 'home'],
    remedy: ({ at }) => rmSync(at('home')) as undefined,
    said: /Remove the link/,
  },
  {
    what: 'a home with a name that is too long',
    code: 'path-too-long',
    command: 'worker',
    args: ['--home', 'x'.repeat(300)],
    remedy: () => ['--home', 'x'],
    said: /shorter path/,
  },
  {
    what: 'an outbox that this user may not open',
    code: 'file-denied',
    command: 'worker',
    args: ['--home', 'home'],
    prepare: (place) => {
      mkdirSync(place.at('home/workers/1/outbox'), { recursive: true });
      place.own('home');
      chmodSync(place.at('home/workers/1/outbox'), 0);
      return undefined;
    },
    remedy: mode(0o700, 'home/workers/1/outbox'),
    said: /chmod/,
  },
  {
    what: 'a key of a Worker that is damaged',
    code: 'key-file-unusable',
    command: 'worker',
    args: ['--home', 'home'],
    prepare: (place) => {
      mkdirSync(place.at('home/workers/1'), { recursive: true });
      writeFileSync(place.at('home/workers/1/key.json'), '{', { mode: 0o600 });
      place.own('home');
      return undefined;
    },
    remedy: away('home/workers/1/key.json'),
    said: /move it away/,
  },
  // Addresses.
  {
    what: 'a port of the API that is taken',
    code: 'address-unusable',
    command: 'master',
    prepare: async ({ t }) => ['--http', `127.0.0.1:${await takenPort(t)}`],
    remedy: async () => ['--http', `127.0.0.1:${await freePort()}`],
    said: /Choose another port/,
  },
  {
    what: 'a port of a tracker that is taken',
    code: 'address-unusable',
    command: 'tracker',
    prepare: async ({ t }) => ['--host', '127.0.0.1', '--port', String(await takenPort(t))],
    remedy: async () => ['--host', '127.0.0.1', '--port', String(await freePort())],
    said: /Choose another port/,
  },
  {
    what: 'an address that this machine has not',
    code: 'address-absent',
    command: 'tracker',
    args: ['--host', '192.0.2.1', '--port', '0'],
    remedy: () => ['--host', '127.0.0.1', '--port', '0'],
    said: /ip address/,
  },
  {
    what: 'a host without an address',
    code: 'host-unknown',
    command: 'tracker',
    args: ['--host', 'nowhere.invalid', '--port', '0'],
    remedy: () => ['--host', 'localhost', '--port', '0'],
    said: /Fix the name/,
  },
];

const MASTER = ['master', '--task', 'task', '--tracker', 'ws://127.0.0.1:1', '--http', 'off'];
const started: Readonly<Record<CommandName, RegExp>> = { master: /^Token: /, worker: /tracker-unreachable/, tracker: /^ws:/ };

function commandOf(command: CommandName, args: Args): string[] {
  if (command === 'tracker') return ['tracker', ...args];
  if (command === 'worker') return ['worker', '--sandbox', 'off', '--concurrency', '1', ...args];
  // Of repeated flags the last one counts.
  const has = (flag: string) => args.includes(flag);
  const base = has('--task') ? ['master', '--tracker', 'ws://127.0.0.1:1'] : ['master', '--task', 'task', '--tracker', 'ws://127.0.0.1:1'];
  return [...base, ...(has('--http') ? [] : ['--http', 'off']), ...args];
}

async function takenPort(t: Test): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  return (server.address() as { readonly port: number }).port;
}

async function makeKey({ start, at }: Place): Promise<void> {
  const master = start(...MASTER, '--key-file', 'key.json', '--ledger', 'memory:');
  await master.line(/^Token: /);
  await master.stop();
  if (!existsSync(at('key.json'))) throw new Error('no key');
}

function placeFor(t: Test): Place {
  const grid = new Grid();
  const path = mkdtempSync(join(tmpdir(), 'peerwork-start-'));
  // In this order: a program that is still running writes to the folder while it is being removed.
  t.teardown(async () => {
    await grid.close();
    await removeFolder(path);
  });
  const at = (...parts: string[]) => join(path, ...parts);
  const own = (...parts: string[]) => {
    if (isRoot) execFileSync('chown', ['-R', `${ORDINARY}:${ORDINARY}`, at(...parts)]);
  };
  mkdirSync(at('task'));
  writeFileSync(at('task', 'task.js'), 'module.exports = (data) => data;\n');
  own('.');
  const start = (...args: string[]) =>
    grid.start(args, { cwd: path, prefix: isRoot ? asOrdinary() : [], env: { HOME: path, TMPDIR: path } });
  return { folder: path, grid, at, own, start, t };
}

const asOrdinary = () => ['setpriv', '--reuid', String(ORDINARY), '--regid', String(ORDINARY), '--clear-groups', '--'];

function prefixOf({ mounted }: Failure, after: boolean): readonly string[] {
  if (mounted === undefined) return isRoot ? asOrdinary() : [];
  const script = `AFTER=${after ? 'yes' : ''}; ${mounted}; exec "$@"`;
  return ['unshare', '-m', 'sh', '-c', script, 'sh', ...asOrdinary()];
}

t.test('what keeps a command from starting has a code, and what is said to do about it works', async (t) => {
  if (!requireTools(t, { setpriv: 'util-linux', unshare: 'util-linux', mount: 'mount', iconv: 'libc-bin' }, { root: true })) return;
  const token = await (async () => {
    const place = placeFor(t);
    const master = place.start(...MASTER, '--ledger', 'memory:');
    const line = await master.line(/^Token: /);
    await master.stop();
    return line.replace('Token: ', '').trim();
  })();
  for (const failure of failures)
    await t.test(failure.what, async (t) => {
      const place = placeFor(t);
      const { command, code, said } = failure;
      const run = (args: Args, after: boolean) =>
        place.grid.start(commandOf(command, args), {
          cwd: place.folder,
          prefix: prefixOf(failure, after),
          env: { HOME: place.folder, TMPDIR: tmpdir(), ...(command === 'worker' && { token }) },
        });
      const args = (await failure.prepare?.(place)) ?? failure.args ?? [];
      const refused = run(args, false);
      const line = await Promise.race([
        refused.line(/^peerwork: /),
        refused.line(started[command]).catch(() => new Promise<string>(() => {})),
      ]).catch((error: Error) => error.message);
      await refused.stop();
      t.ok(refused.text.includes(`[${code}]`), `${code}: ${line.slice(0, 300)}`);
      t.match(refused.text, errorTable[code].hint);
      t.match(errorTable[code].hint, said);
      const again = run((await failure.remedy(place)) ?? args, true);
      t.match(
        await again.line(new RegExp(`${started[command].source}|^peerwork: |ended`)).catch((error: Error) => error.message),
        started[command],
        'it starts',
      );
      await again.stop();
    });
});

t.test('a port below 1024 without the rights', async (t) => {
  if (!requireTools(t, { setpriv: 'util-linux' }, { root: true })) return;
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  if (!requireThat(t, first > 1, 'every user may listen on every port here')) return;
  const place = placeFor(t);
  const refused = place.start('tracker', '--host', '127.0.0.1', '--port', '1');
  t.match(await refused.line(/^(peerwork|ws):/), '[port-denied]');
  t.match(errorTable['port-denied'].hint, /1024/);
  const again = place.start('tracker', '--host', '127.0.0.1', '--port', String(await freePort()));
  t.match(await again.line(/^(peerwork|ws):/), /^ws:/);
});

t.test('a home that another Worker has, and one whose Worker was killed', async (t) => {
  if (!requireTools(t, { setpriv: 'util-linux' }, { root: true })) return;
  const place = placeFor(t);
  const master = place.start(...MASTER, '--ledger', 'memory:');
  const token = (await master.line(/^Token: /)).replace('Token: ', '').trim();
  const start = () =>
    place.grid.start(commandOf('worker', ['--home', 'home']), {
      cwd: place.folder,
      prefix: asOrdinary(),
      env: { HOME: place.folder, token },
    });
  const first = start();
  await first.line(/tracker-unreachable/);
  const second = start();
  await second.line(/tracker-unreachable/);
  t.ok(existsSync(place.at('home/workers/2/lock')), 'who comes second has a folder of its own');
  await second.stop();
  await first.stop('SIGKILL');
  t.ok(existsSync(place.at('home/workers/1/lock')), 'a lock is left behind');
  const third = start();
  await third.line(/tracker-unreachable/);
  t.notOk(existsSync(place.at('home/workers/2/lock')), 'and is taken over');
  chownSync(place.at('home/workers/1'), ORDINARY, ORDINARY);
});

t.test('too many open files', async (t) => {
  if (!requireTools(t, { setpriv: 'util-linux', prlimit: 'util-linux' }, { root: true })) return;
  const place = placeFor(t);
  const start = (files: number) =>
    place.grid.start([...MASTER, '--ledger', 'memory:'], {
      cwd: place.folder,
      prefix: ['prlimit', `--nofile=${files}`, ...asOrdinary()],
      env: { HOME: place.folder },
    });
  // With fewer Node itself does not start; with the most our code loads, and the Master has too few.
  for (const files of [22, 28, 34, 40, 46, 52, 58]) {
    const program = start(files);
    await program.line(/^Token: |^peerwork: /).catch(() => '');
    await program.stop();
    t.match(program.text, /\[files-exhausted\]|^Token: /m, `with ${files}`);
    t.notMatch(program.text, /^ +at /m, 'no stack trace');
  }
  t.match(errorTable['files-exhausted'].hint, /ulimit -n 65536/);
  t.match(await start(1_024).line(/^(Token|peerwork): /), /^Token: /, 'it starts');
});
