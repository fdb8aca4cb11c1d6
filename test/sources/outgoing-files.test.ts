import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PeerworkError } from '../../src/errors.js';
import type { FileRef } from '../../src/job/files.js';
import { silentLog } from '../../src/log.js';
import { OutgoingFiles } from '../../src/sources/outgoing-files.js';
import { temporaryFolder } from '../ledger/engines.js';

const lease = { id: 'a/../job', lease: 3 };

async function openOutgoing(t: Test) {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'made'));
  const options = { folder: join(folder, 'outgoing'), key: randomBytes(32), log: silentLog };
  const make = (name: string, content: Buffer) => {
    writeFileSync(join(folder, 'made', name), content);
    return [name, join(folder, 'made', name)] as const;
  };
  return { folder, options, make, outgoing: await OutgoingFiles.open(options, []) };
}

async function* made(files: readonly (readonly [name: string, path: string])[]) {
  for (const [name, path] of files) {
    const handle = await open(path);
    yield { name, handle };
    await handle.close();
  }
}

async function read(outgoing: OutgoingFiles, file: FileRef, offset = 0): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of outgoing.read(lease, file, offset)) pieces.push(piece);
  return Buffer.concat(pieces);
}

t.test('files are sealed, and read from any byte', async (t) => {
  const { options, make, outgoing } = await openOutgoing(t);
  for (const size of [0, 1, 1_048_575, 1_048_576, 1_048_577, 3_000_000]) {
    const content = randomBytes(size);
    const { f } = await outgoing.keep(lease, made([make('f', content)]));
    t.same(f, { sha256: createHash('sha256').update(content).digest('hex'), size });
    if (f === undefined) continue;
    for (const offset of [0, 1, 1_048_576, size - 1, size].filter((at) => at >= 0 && at <= size))
      t.ok((await read(outgoing, f, offset)).equals(content.subarray(offset)), `${size} bytes from ${offset}`);
  }
  const secret = Buffer.from('a secret of the job'.repeat(10));
  await outgoing.keep(lease, made([make('secret', secret)]));
  for (const name of readdirSync(options.folder, { recursive: true, encoding: 'utf8' }).filter((each) => /[0-9a-f]{64}$/.test(each)))
    t.notOk(readFileSync(join(options.folder, name)).includes('a secret of the job'), 'nothing of it can be read on the disk');
});

t.test('what is damaged on the disk is found', async (t) => {
  const { options, make, outgoing } = await openOutgoing(t);
  const { f } = await outgoing.keep(lease, made([make('f', randomBytes(2_500_000))]));
  if (f === undefined) return t.fail('nothing is kept');
  const [folder = ''] = readdirSync(options.folder);
  const path = join(options.folder, folder, f.sha256);
  const sealed = readFileSync(path);
  const swapped = Buffer.concat([sealed.subarray(1_048_604, 2_097_208), sealed.subarray(0, 1_048_604), sealed.subarray(2_097_208)]);
  for (const damaged of [
    swapped,
    sealed.subarray(0, 1_500_000),
    Buffer.concat([sealed.subarray(0, 100), Buffer.from([1]), sealed.subarray(101)]),
  ]) {
    writeFileSync(path, damaged);
    await t.rejects(read(outgoing, f), { code: 'file-lost' });
  }
});

t.test('after a restart only files of outcomes that are still to be sent are there', async (t) => {
  const { options, make, outgoing } = await openOutgoing(t);
  const { f } = await outgoing.keep(lease, made([make('f', Buffer.from('kept'))]));
  await outgoing.keep({ id: 'other', lease: 1 }, made([make('g', Buffer.from('gone'))]));
  const next = await OutgoingFiles.open(options, [lease]);
  t.equal(readdirSync(options.folder).length, 1);
  if (f !== undefined) t.equal((await read(next, f)).toString(), 'kept');
  await next.remove(lease);
  t.same(readdirSync(options.folder), []);
});

t.test('of a failed attempt nothing stays', async (t) => {
  const { options, make, outgoing } = await openOutgoing(t);
  const fails = async function* () {
    yield* made([make('a', Buffer.from('a'))]);
    throw new PeerworkError('files-invalid', 'after the first');
  };
  await t.rejects(outgoing.keep(lease, fails()), { code: 'files-invalid' });
  t.same(readdirSync(options.folder), []);
});
