import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { WebSocket as Client, type WebSocket, WebSocketServer } from 'ws';
import { parseToken } from '../../src/swarm/token.js';
import { Grid } from '../lab/grid.js';

const TRANSFER = 'transfer-secret-of-32-characters';

/** Reports everything a task can see: its environment, its arguments, its parent's if possible. */
const SPY_TASK = `
const { readFileSync } = require('node:fs');
module.exports = () => {
  const read = (path) => { try { return readFileSync(path, 'latin1'); } catch (error) { return error.code; } };
  return { env: process.env, argv: process.argv, exec: process.execArgv, parent: read('/proc/' + process.ppid + '/environ'), own: read('/proc/self/environ') };
};`;

/** A proxy between the peers and their tracker that records every message. */
async function wiretap(upstream: string): Promise<{ url: string; heard: () => string; close: () => void }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  let words = '';
  server.on('connection', (near: WebSocket, request) => {
    words += request.url ?? '';
    const far = new Client(upstream);
    const queue: string[] = [];
    far.on('open', () => {
      for (const message of queue.splice(0)) far.send(message);
    });
    near.on('message', (data) => {
      words += String(data);
      if (far.readyState === Client.OPEN) far.send(String(data));
      else queue.push(String(data));
    });
    far.on('message', (data) => {
      words += String(data);
      near.send(String(data));
    });
    near.on('close', () => far.close());
    far.on('close', () => near.close());
    for (const socket of [near, far]) socket.on('error', () => {});
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { url: `ws://127.0.0.1:${port}`, heard: () => words, close: () => server.close() };
}

t.test('token and keys are in no log at debug level, no process list, no environment of a task, no tracker traffic', async (t) => {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.js'), SPY_TASK);
  writeFileSync(join(grid.folder, 'jobs.ndjson'), '{"id":"spy","data":null}\n');
  await grid.tracker();
  const tap = await wiretap(grid.trackerUrl);
  t.teardown(() => tap.close());
  const env = { LOG_LEVEL: 'debug', transferEncryptToken: TRANSFER, OWNERS_SECRET: 'the-owners-own-secret' };
  const master = grid.start(
    [
      'master',
      '--tracker',
      tap.url,
      '--task',
      'task',
      '--input',
      'jobs.ndjson',
      '--output',
      'results.ndjson',
      '--ledger',
      'sqlite:ledger.db',
    ],
    { env },
  );
  const printed = await master.line(/pw1\.[\w-]+/);
  const token = /pw1\.[\w-]+/.exec(printed)?.[0] ?? '';
  const worker = grid.worker(token, 'spied-on', ['--token', token], { env: { ...env, token: '' } });
  await worker.line(/connected/);
  const processes = [master, worker].map(({ pid }) => readFileSync(`/proc/${pid}/cmdline`, 'latin1')).join('\n');
  t.equal((await master.ended).code, 0, master.text.slice(-1_000));
  await worker.stop();

  const keys = [
    JSON.parse(readFileSync(join(grid.folder, 'ledger.db.key'), 'utf8')),
    JSON.parse(readFileSync(join(grid.folder, 'spied-on', '.peerwork', 'workers', '1', 'key.json'), 'utf8')),
  ];
  const { secret } = parseToken(token);
  const secrets: Record<string, string> = {
    token,
    'the secret in the token': Buffer.from(secret).toString('base64url'),
    'the same in hexadecimal': Buffer.from(secret).toString('hex'),
    'the transfer secret': TRANSFER,
    "the Master's private key": keys[0].privateKey,
    "the Worker's private key": keys[1].privateKey,
  };
  const places: Record<string, string> = {
    'the process list': processes,
    // The one place where the token belongs.
    'the output of the Master': master.lines.filter((line) => line !== printed).join('\n'),
    'the output of the Worker': worker.text,
    "the task's world": JSON.stringify(grid.outcomes('results.ndjson')[0]?.output),
    'the tracker traffic': tap.heard(),
  };
  t.match(master.text, /debug/, 'the level was debug');
  t.match(tap.heard(), /info_hash/, 'the wiretap heard something');
  t.match(places["the task's world"], /argv/);
  for (const [place, text] of Object.entries(places)) {
    for (const [secretName, value] of Object.entries(secrets)) {
      t.ok(value.length > 20);
      t.notOk(text.includes(value), `${secretName} is not in ${place}`);
    }
  }
  t.notOk(places["the task's world"]?.includes('the-owners-own-secret'), "the owner's environment is not the task's");
});
