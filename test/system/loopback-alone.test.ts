import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { errorTable } from '../../src/errors.js';
import { Grid } from '../lab/grid.js';
import { writeSlowTask } from '../lab/jobs.js';
import { requireTools } from '../lab/require.js';

/** Inside a network namespace of its own: exposes the tracker, through a socket file, at the address that it has outside. */
const DOOR = `require('node:net').createServer((one) => {
  const other = require('node:net').connect(process.argv[1]);
  one.on('error', () => other.destroy()).pipe(other).on('error', () => one.destroy()).pipe(one);
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('open'));`;

t.test('a machine that has nothing but its own loopback is told so', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux', ip: 'iproute2', sh: 'dash' }, { root: true })) return;
  const grid = new Grid();
  t.teardown(() => grid.close());
  writeSlowTask(grid.folder);
  await grid.tracker();
  const port = Number(new URL(grid.trackerUrl).port);
  const door = join(grid.folder, 'tracker.sock');
  const outside = createServer((one) => {
    const other = connect(port, '127.0.0.1');
    one
      .on('error', () => other.destroy())
      .pipe(other)
      .on('error', () => one.destroy())
      .pipe(one);
  }).listen(door);
  t.teardown(() => outside.close());
  const { token } = await grid.master(['--task', 'task', '--http', 'off']);
  const script = 'ip link set lo up; "$1" -e "$2" "$3" "$4" & shift 4; "$@"';
  // When killed, it takes everything started inside with it.
  const prefix = [
    'unshare',
    '--net',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    'sh',
    '-c',
    script,
    'sh',
    process.execPath,
    DOOR,
    door,
    String(port),
  ];
  const worker = grid.worker(token, 'alone', ['--sandbox', 'off', '--concurrency', '1'], { prefix });
  const line = await worker.line(/ warn .*(network-absent|ice-failed)/);
  t.match(line, /code=network-absent/);
  t.ok(line.includes(`hint=${JSON.stringify(errorTable['network-absent'].hint)}`), 'and what to do');
});
