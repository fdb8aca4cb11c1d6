import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { PeerworkError } from '../../../../src/errors.js';
import { createLog } from '../../../../src/log.js';
import { Master } from '../../../../src/master/master.js';
import type { MasterOptions } from '../../../../src/master/options.js';
import { queueXecServer } from '../../../../src/wires/queue-xec/server/legacy-room.js';
import { freePort } from '../../../lab/free-port.js';
import { KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { removeFolder } from '../../../lab/remove-folder.js';
import { until } from '../../../lab/until.js';

/** A task in peerwork's form: an ES module that exports a function. */
export const TASK = `
import { name } from './lib/name.mjs';
export default async (data, context) => {
  if (data.ms) await new Promise((resolve) => setTimeout(resolve, data.ms));
  if (data.fail) throw new Error('this one fails');
  if (data.exit) process.exit(3);
  if (data.child) context.spawn({ id: data.child, data: { n: 0 } });
  return { n: data.n, by: name };
};
`;

export function writeTask(folder: string, name = 'lib'): void {
  mkdirSync(join(folder, 'lib'), { recursive: true });
  writeFileSync(join(folder, 'lib', 'name.mjs'), `export const name = '${name}';\n`);
  writeFileSync(join(folder, 'task.mjs'), TASK);
}

/** A Master of ours that serves the room, on loopback only. */
export async function masterOf(
  t: Test,
  options: Partial<MasterOptions> & { readonly port?: number; readonly peers?: readonly number[] } = {},
) {
  const { port, peers = [], ...rest } = options;
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-legacy-'));
  writeTask(join(folder, 'task'));
  const lines: string[] = [];
  const warnings: PeerworkError[] = [];
  const listening = port ?? (await freePort());
  const master = new Master({
    ledger: 'memory:',
    task: join(folder, 'task'),
    trackers: ['ws://127.0.0.1:9'],
    log: createLog({ level: 'info', write: (line) => lines.push(line) }),
    serve: [
      queueXecServer({
        token: TOKEN,
        transferEncryptToken: KEY,
        listen: { host: '127.0.0.1', port: listening },
        peers: peers.map((each) => ({ host: '127.0.0.1', port: each })),
        lsd: false,
        dht: false,
      }),
    ],
    ...rest,
  });
  master.on('warning', (error) => warnings.push(error));
  master.ready.catch(() => {});
  t.teardown(async () => {
    await master.close();
    await removeFolder(folder);
  });
  await master.counts();
  return { master, folder, lines, warnings, port: listening };
}

export const allEnded = (master: Master, count: number) =>
  until(async () => {
    const { completed, failed } = await master.counts();
    return completed + failed >= count;
  });
