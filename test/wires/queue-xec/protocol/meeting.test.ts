import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'bittorrent-dht';
import t from 'tap';
import { systemClock } from '../../../../src/clock.js';
import { silentLog } from '../../../../src/log.js';
import { Room } from '../../../../src/wires/queue-xec/protocol/room.js';
import { Grid } from '../../../lab/grid.js';
import { foreigners, KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { removeFolder } from '../../../lab/remove-folder.js';
import { requireTools } from '../../../lab/require.js';
import { until } from '../../../lab/until.js';
import { FILES, jobs } from '../source/fixtures.js';

const LOOPBACK = '127.0.0.1';

t.test('members find each other in a DHT', async (t) => {
  const node = new Client({ bootstrap: [] });
  await new Promise<void>((resolve) => node.listen(0, LOOPBACK, resolve));
  t.teardown(() => new Promise<void>((resolve) => node.destroy(resolve)));
  const dht = { nodes: [`${LOOPBACK}:${node.address().port}`], host: LOOPBACK };
  const open = async () => {
    const room = new Room({
      ...{ token: TOKEN, serve: new Map(), clock: systemClock, log: silentLog },
      ...{ listen: { host: LOOPBACK }, lsd: false, dht },
    });
    await room.start();
    t.teardown(() => room.close());
    return room;
  };
  const first = await open();
  // An announce is found only by later look-ups, so the first one's announce must have arrived.
  const second = await open();
  await until(async () => {
    if (first.members().length > 0) return true;
    const third = await open();
    await new Promise((resolve) => setTimeout(resolve, 300));
    return third.members().length > 0;
  });
  t.ok(second.port > 0);
});

t.test('the command line: a Worker finds a queue-xec Master in its network, is killed, and loses no job', async (t) => {
  if (!requireTools(t, { ip: 'iproute2' }, { root: true })) return;
  const netns = `pwqx-${process.pid}`;
  execFileSync('ip', ['netns', 'add', netns]);
  const grid = new Grid();
  const home = mkdtempSync(join(tmpdir(), 'peerwork-home-'));
  t.teardown(async () => {
    await grid.close();
    execFileSync('ip', ['netns', 'delete', netns]);
    await removeFolder(home);
  });
  // A network namespace in which multicast works, and nothing else is reachable.
  execFileSync('ip', ['-n', netns, '-batch', '-'], {
    input:
      'link set lo up\nlink add eth0 type veth peer name eth1\nlink set eth1 up\naddr add 203.0.113.1/24 dev eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0\n',
  });
  const { start } = foreigners(t);
  const master = await start('foreign-master.js', { files: FILES, lsd: true }, undefined, netns);
  const env = { PEERWORK_QUEUE_XEC_TOKEN: TOKEN, PEERWORK_QUEUE_XEC_KEY: KEY, PEERWORK_QUEUE_XEC_DHT: 'no' };
  const options = { env, prefix: ['ip', 'netns', 'exec', netns] };
  const args = ['worker', '--name', 'found', '--home', home, '--concurrency', '8', '--log-level', 'debug'];
  master.tell({ push: jobs(7, { ms: 4_000 }) });
  const killed = grid.start(args, options);
  await killed.line(/joined a queue-xec Master/);
  // All jobs have arrived and none is in flight: the kill would lose those, as the Master has forgotten them.
  const backlog = join(home, 'workers', '1', 'sources', 'queue-xec', 'backlog');
  await until(() => master.handedOut === 7 && readdirSync(backlog).filter((name) => name.endsWith('.job')).length === 7);
  await killed.stop('SIGKILL');
  t.ok(master.handedOut > master.results.length, 'it held jobs that the Master has forgotten');
  const next = grid.start(args, options);
  await until(() => new Set(master.results.map(({ jobID }) => jobID)).size === 7);
  await next.stop('SIGTERM');
  t.same(await next.ended, { code: 0, signal: null });
  for (const { text } of [killed, next]) t.notOk(text.includes(TOKEN) || text.includes(KEY), 'no secret in what it prints');
  t.match(next.text, /sources="?queue-xec/, 'it says whom it serves');
});

t.test('the command line: a Master serves queue-xec Workers only if it is told to, and says what that means', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  const { start } = foreigners(t);
  const { writeTask } = await import('../server/fixtures.js');
  writeTask(join(grid.folder, 'task'));
  const args = ['master', '--task', 'task', '--tracker', 'ws://127.0.0.1:9', '--ledger', 'memory:', '--http', 'off'];
  const without = grid.start([...args, '--legacy-queue-xec'], { env: { PEERWORK_QUEUE_XEC_TOKEN: TOKEN } });
  await without.ended;
  t.match(without.text, /option-invalid|PEERWORK_QUEUE_XEC_KEY/);
  const env = {
    ...{ PEERWORK_QUEUE_XEC_TOKEN: TOKEN, PEERWORK_QUEUE_XEC_KEY: KEY, PEERWORK_LEGACY_QUEUE_XEC: 'yes' },
    ...{ PEERWORK_QUEUE_XEC_DHT: 'no', PEERWORK_QUEUE_XEC_LSD: 'no' },
  };
  const worker = await start('foreign-worker.js', { name: 'w' });
  const place = ['--queue-xec-listen', '127.0.0.1:0', '--queue-xec-peer', `127.0.0.1:${worker.port}`];
  const serving = grid.start([...args, '--input', '-', '--output', 'out.ndjson', ...place], { env });
  await serving.line(/queue-xec Workers are served: anyone with their token can join/);
  serving.end('{"id":"a","data":{"n":1}}\n{"id":"b","data":{"n":2}}\n');
  t.equal((await serving.ended).code, 0);
  t.match(grid.outcomes('out.ndjson'), [
    { state: 'completed', worker: 'w' },
    { state: 'completed', worker: 'w' },
  ]);
  t.notOk(serving.text.includes(TOKEN) || serving.text.includes(KEY));
});
