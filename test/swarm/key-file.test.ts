import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { redact } from '../../src/log.js';
import { toBase64url, toHex } from '../../src/swarm/bytes.js';
import { loadOrCreateKeyFile } from '../../src/swarm/key-file.node.js';

const moduleUrl = new URL('../../src/swarm/key-file.node.js', import.meta.url).href;

/** Creates the file from another process. */
function createElsewhere(path: string): Promise<string> {
  const code = `const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.moduleUrl).then(({ loadOrCreateKeyFile }) => parentPort.postMessage(loadOrCreateKeyFile(workerData.path).keyPair.privateKey));`;
  return new Promise((resolve, reject) => {
    const thread = new Worker(code, { eval: true, workerData: { moduleUrl, path } });
    thread.once('message', (privateKey) => resolve(toHex(privateKey)));
    thread.once('error', reject);
  });
}

t.test('is created once, readable by its owner alone, and the same ever after', async (t) => {
  const path = join(t.testdir(), 'deep', 'folder', 'key.json');
  const created = await Promise.all([1, 2, 3, 4].map(() => createElsewhere(path)));
  const again = loadOrCreateKeyFile(path);
  for (const privateKey of created) t.equal(privateKey, toHex(again.keyPair.privateKey), 'even if four create it at once');
  t.equal(again.secret.length, 32);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.same(await readdir(join(path, '..')), ['key.json'], 'no draft is left');
  t.notMatch(redact(await readFile(path, 'utf8')), toBase64url(again.keyPair.privateKey));
});

t.test('is refused if others may read it or it is damaged', async (t) => {
  const path = join(t.testdir(), 'key.json');
  loadOrCreateKeyFile(path);
  const text = await readFile(path, 'utf8');
  for (const mode of [0o640, 0o604, 0o620]) {
    await chmod(path, mode);
    t.throws(() => loadOrCreateKeyFile(path), { code: 'key-file-open' });
  }
  await chmod(path, 0o600);
  const file = JSON.parse(text);
  const foreign = { ...file, publicKey: toBase64url(new Uint8Array(32).fill(9)) };
  for (const damaged of ['', text.slice(0, -20), '{}', JSON.stringify({ ...file, privateKey: 'AAAA' }), JSON.stringify(foreign)]) {
    await writeFile(path, damaged);
    t.throws(() => loadOrCreateKeyFile(path), { code: 'key-file-unusable', message: /: its content is damaged$/ });
    t.equal(await readFile(path, 'utf8'), damaged, 'it is left as it is');
  }
  const folder = t.testdir({ occupied: {} });
  t.throws(() => loadOrCreateKeyFile(join(folder, 'occupied')), { code: /path-is-folder|key-file-open/ });
});
