import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Clock, systemClock } from '../../../../src/clock.js';
import type { PeerworkError } from '../../../../src/errors.js';
import { silentLog } from '../../../../src/log.js';
import { type QueueXecSourceOptions, queueXecSource } from '../../../../src/wires/queue-xec/source/setup.js';
import { Worker } from '../../../../src/worker/worker.js';
import { KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { removeFolder } from '../../../lab/remove-folder.js';

/** A task that returns its input; with `fail` it throws, with `ms` it waits first. */
export const TASK = `
class Task {
  async run(job) {
    const data = typeof job.data === 'string' ? JSON.parse(job.data) : (job.data ?? { url: job.url });
    if (data.ms) await new Promise((resolve) => setTimeout(resolve, data.ms));
    if (data.fail) throw new Error('this one fails');
    if (data.plain) return data.plain;
    return { got: data, by: require('./lib/name.js'), id: job.id };
  }
}
module.exports = Task;
`;

export const FILES = [
  { name: 'task.js', workerPath: '/workplace/task.js', text: TASK },
  { name: 'name.js', workerPath: '/workplace/lib/name.js', text: "module.exports = 'lib';\n" },
];

export const jobs = (count: number, data: object = {}) =>
  Array.from({ length: count }, (_, id) => ({ id, data: JSON.stringify({ ...data, n: id }) }));

/** A Worker of ours in the room, on loopback only. */
export function workerOf(
  t: Test,
  port: number,
  options: Partial<QueueXecSourceOptions> & { concurrency?: number; home?: string; clock?: Clock } = {},
) {
  const { concurrency = 2, home = mkdtempSync(join(tmpdir(), 'peerwork-home-')), clock = systemClock, ...source } = options;
  const warnings: PeerworkError[] = [];
  const worker = new Worker({
    name: 'ours',
    home,
    concurrency,
    sandbox: 'off',
    clock,
    log: silentLog,
    sources: [
      queueXecSource({
        token: TOKEN,
        transferEncryptToken: KEY,
        listen: { host: '127.0.0.1' },
        peers: port === 0 ? [] : [{ host: '127.0.0.1', port }],
        lsd: false,
        dht: false,
        ...source,
      }),
    ],
  });
  worker.on('warning', (error) => warnings.push(error));
  t.teardown(async () => {
    await worker.close();
    await removeFolder(home);
  });
  return { worker, warnings, home };
}
