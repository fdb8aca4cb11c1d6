import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { silentLog } from '../../../../src/log.js';
import type { PushResult } from '../../../../src/master/options.js';
import { Master, type MasterOptions } from '../../../../src/wires/queue-xec/compat/master.js';
import { Worker, type WorkerOptions } from '../../../../src/wires/queue-xec/compat/worker.js';
import { freePort } from '../../../lab/free-port.js';
import { KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { removeFolder } from '../../../lab/remove-folder.js';

export const TASK = `
class Task {
  async run(job) {
    if (job.fail) throw new Error('this one fails');
    return { job, sum: typeof job.data === 'string' ? JSON.parse(job.data).x + 2 : null };
  }
}
module.exports = Task;
`;

/** A Master and Workers of the subpath in one room, on loopback only. */
export async function room(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-queue-xec-'));
  t.teardown(() => removeFolder(folder));
  mkdirSync(join(folder, 'src'));
  const file = join(folder, 'src', 'task.js');
  writeFileSync(file, TASK);
  const port = await freePort();
  const host = '127.0.0.1';
  const alone = { lsd: false, dht: false } as const;
  const results: PushResult[] = [];
  const master = (options: MasterOptions = {}) => {
    const made = new Master({
      ...{ token: TOKEN, transferEncryptToken: KEY, ledger: 'memory:', trackers: ['ws://127.0.0.1:9'], log: silentLog },
      execAssets: { files: [{ masterPath: file, name: 'task.js', workerPath: '/workplace/task.js' }] },
      onResults: (result) => results.push(result),
      queueXec: { listen: { host, port }, ...alone },
      ...options,
    });
    made.ready.catch(() => {});
    t.teardown(() => made.close());
    return made;
  };
  const worker = (options: WorkerOptions = {}) => {
    const made = new Worker({
      ...{ token: TOKEN, transferEncryptToken: KEY, name: 'worker_1', home: join(folder, 'home'), sandbox: 'off', log: silentLog },
      queueXec: { listen: { host }, peers: [{ host, port }], ...alone },
      ...options,
    });
    made.ready.catch(() => {});
    t.teardown(() => made.close());
    return made;
  };
  return { folder, port, results, master, worker };
}
