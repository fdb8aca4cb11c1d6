import { execFile } from 'node:child_process';
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { BlobStore, type Fetched } from '../../src/task/blob-store.js';
import { blobOf, collect, noise } from './fixtures.js';
import { home } from './home.js';

const run = promisify(execFile);
const storeModule = new URL('../../src/task/blob-store.js', import.meta.url);

/** Yields the bytes from the offset in pieces; fails with `link-lost` at `cutAt`. */
function stream(bytes: Uint8Array, { pieceBytes = 1_000, cutAt = Number.POSITIVE_INFINITY }: { pieceBytes?: number; cutAt?: number } = {}) {
  const offsets: number[] = [];
  const from = async function* (offset: number) {
    offsets.push(offset);
    for (let at = offset; at < bytes.length; at += pieceBytes) {
      if (at >= cutAt) throw new PeerworkError('link-lost', 'cut by the test');
      yield bytes.subarray(at, Math.min(at + pieceBytes, bytes.length));
    }
  };
  return { from, offsets };
}

async function partialTransfers(folder: string): Promise<string[]> {
  return readdir(join(folder, 'arriving'));
}

t.test('what arrives is what was announced, or is not kept', async (t) => {
  const folder = await home(t);
  const store = new BlobStore({ folder });
  const bytes = noise(10_000);
  const blob = blobOf(bytes);

  const fetched = await store.fetch(blob, stream(bytes).from);
  t.equal(fetched.received, 10_000);
  t.ok(bytes.equals(fetched.bytes ?? new Uint8Array()));
  t.ok((await store.read(blob.sha256)).equals(bytes));
  t.ok((await collect(store.open(blob.sha256, 9_000))).equals(bytes.subarray(9_000)));
  t.equal((await collect(store.open(blob.sha256, 20_000))).length, 0, 'beyond the end there is nothing');
  t.equal((await store.fetch(blob, () => t.fail('asked again') as never)).received, 0, 'never fetched twice');

  const wanted = blobOf(noise(10_000, 2));
  const wrong = stream(bytes);
  await t.rejects(store.fetch(wanted, wrong.from), { code: 'asset-hash-mismatch' });
  t.same(wrong.offsets, [0, 0], 'tried twice, from the beginning');
  let sent = 0;
  const endless = async function* () {
    for (;;) {
      sent += 1_000;
      yield new Uint8Array(1_000);
    }
  };
  await t.rejects(store.fetch(wanted, endless), { code: 'asset-hash-mismatch' });
  t.ok(sent <= 2 * 11_000, 'a stream without end is stopped at the announced size');
  await t.rejects(store.fetch(wanted, stream(noise(5_000, 2)).from), { code: 'asset-hash-mismatch' }, 'too short');
  t.notOk(await store.has(wanted.sha256));
  t.same(await partialTransfers(folder), [], 'nothing is left');
  t.equal((await stat(join(folder, 'blobs', blob.sha256.slice(0, 2), blob.sha256.slice(2)))).mode & 0o077, 0, 'for the owner alone');

  for (const odd of ['', '../../x', 'AB'.repeat(32), `${'ab'.repeat(31)}/.`])
    await t.rejects(store.read(odd), { code: 'asset-unknown' }, odd);
  await t.rejects(store.read('00'.repeat(32)), { code: 'asset-unknown' });
  await t.rejects(collect(store.open('00'.repeat(32))), { code: 'asset-unknown' });
});

t.test('a cut transfer goes on where it was cut', async (t) => {
  const folder = await home(t);
  const bytes = noise(10_000);
  const blob = blobOf(bytes);
  const cut = stream(bytes, { cutAt: 6_000 });
  await t.rejects(new BlobStore({ folder }).fetch(blob, cut.from), { code: 'link-lost' });
  const rest = stream(bytes);
  t.equal((await new BlobStore({ folder }).fetch(blob, rest.from)).received, 4_000, 'only the rest is received, by another process');
  t.same(rest.offsets, [6_000]);
  t.same(await partialTransfers(folder), []);

  const patient = new BlobStore({ folder });
  const second = blobOf(noise(10_000, 2));
  for (const cutAt of [2_000, 7_000])
    await t.rejects(patient.fetch(second, stream(noise(10_000, 2), { cutAt }).from), { code: 'link-lost' });
  const last = stream(noise(10_000, 2));
  await patient.fetch(second, last.from);
  t.same(last.offsets, [7_000], 'as often as need be');

  const dead = await run(process.execPath, ['-p', 'process.pid']);
  await writeFile(join(folder, 'arriving', `${second.sha256}.${dead.stdout.trim()}.0123456789ab`), 'of a killed process');
  const old = join(folder, 'arriving', `${'00'.repeat(32)}.rest`);
  await writeFile(old, 'of a task that is no more');
  await utimes(old, 1, 1);
  const third = blobOf(noise(10_000, 3));
  await writeFile(join(folder, 'arriving', `${third.sha256}.rest`), noise(4_000, 9));
  const healed = stream(noise(10_000, 3));
  await new BlobStore({ folder }).fetch(third, healed.from);
  t.same(healed.offsets, [4_000, 0], 'a rest that is wrong costs one more try');
  await writeFile(join(folder, 'arriving', `${blobOf(noise(10_000, 4)).sha256}.rest`), noise(90_000, 9));
  await new BlobStore({ folder }).fetch(blobOf(noise(10_000, 4)), stream(noise(10_000, 4)).from);
  t.same(await partialTransfers(folder), []);
});

t.test('many want the same blob, one fetches it', async (t) => {
  const folder = await home(t);
  const store = new BlobStore({ folder });
  const bytes = noise(10_000);
  const blob = blobOf(bytes);
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { from, offsets } = stream(bytes);
  const slow = async function* (offset: number) {
    await gate;
    yield* from(offset);
  };
  const leaver = new AbortController();
  const calls = [store.fetch(blob, slow, leaver.signal), store.fetch(blob, slow), store.fetch(blob, slow)];
  const [first, ...others] = calls as [Promise<Fetched>, Promise<Fetched>, Promise<Fetched>];
  await new Promise((resolve) => setTimeout(resolve, 20));
  leaver.abort();
  await t.rejects(first, { code: 'cancelled' }, 'one that leaves');
  open();
  t.same(
    (await Promise.all(others)).map(({ received }) => received),
    [10_000, 10_000],
    'does not take the others along',
  );
  t.same(offsets, [0]);

  const late = blobOf(noise(10_000, 6));
  const failing = async function* () {
    yield noise(10_000, 6).subarray(0, 1_000);
    await gate2;
    throw new PeerworkError('link-lost', 'of the first caller');
  };
  let fail = () => {};
  const gate2 = new Promise<void>((resolve) => {
    fail = resolve;
  });
  const leading = store.fetch(late, failing);
  const following = store.fetch(late, stream(noise(10_000, 6)).from);
  await new Promise((resolve) => setTimeout(resolve, 20));
  fail();
  await t.rejects(leading, { code: 'link-lost' });
  t.equal((await following).received, 9_000, 'one whose own link is sound goes on with it');

  const abandoned = new AbortController();
  let closed = false;
  const hanging = async function* (_: number, signal: AbortSignal) {
    try {
      yield new Uint8Array(10);
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    } finally {
      closed = true;
    }
  };
  const fetching = store.fetch(blobOf(noise(10_000, 5)), hanging, abandoned.signal);
  await new Promise((resolve) => setTimeout(resolve, 20));
  abandoned.abort(new PeerworkError('closed'));
  await t.rejects(fetching, { code: 'closed' });
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.ok(closed, 'the stream ends when the last one has left');
});

t.test('several processes fetch the same blobs into one folder', async (t) => {
  const folder = await home(t);
  const script = `
    import { createHash } from 'node:crypto';
    const { BlobStore } = await import(${JSON.stringify(storeModule.href)});
    const store = new BlobStore({ folder: ${JSON.stringify(folder)} });
    for (let i = 0; i < 30; i++) {
      const bytes = Buffer.alloc(20_000, i);
      const blob = { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
      await store.fetch(blob, async function* (offset) {
        for (let at = offset; at < bytes.length; at += 1_000) {
          await new Promise(setImmediate);
          yield bytes.subarray(at, at + 1_000);
        }
      });
      if (!(await store.read(blob.sha256)).equals(bytes)) throw new Error('other bytes');
    }`;
  await Promise.all([1, 2, 3].map(() => run(process.execPath, ['--input-type=module', '-e', script])));
  t.same(await partialTransfers(folder), []);
  const store = new BlobStore({ folder });
  for (let i = 0; i < 30; i++) t.ok((await store.read(blobOf(Buffer.alloc(20_000, i)).sha256)).equals(Buffer.alloc(20_000, i)));
});

t.test('under a quota the least recently used go first, what is pinned stays', async (t) => {
  const folder = await home(t);
  const store = new BlobStore({ folder, quotaBytes: 100_000 });
  const put = async (seed: number, ageS: number) => {
    const bytes = noise(20_000, seed);
    const { sha256 } = blobOf(bytes);
    await store.put(sha256, bytes);
    const at = Date.now() / 1_000 - ageS;
    await utimes(join(folder, 'blobs', sha256.slice(0, 2), sha256.slice(2)), at, at);
    return sha256;
  };
  const [oldest, second, third, fourth] = [await put(1, 400), await put(2, 300), await put(3, 200), await put(4, 100)];
  const unpin = store.pin([oldest, oldest]);
  await store.fetch(blobOf(noise(20_000, 2)), () => t.fail('it is there') as never); // marks it as recently used
  await put(5, 0);
  await put(6, 0);
  t.same(await Promise.all([oldest, second, third, fourth].map((hash) => store.has(hash))), [true, true, false, false]);

  const release = store.pin([second, blobOf(noise(20_000, 5)).sha256, blobOf(noise(20_000, 6)).sha256]);
  await t.rejects(store.put('11'.repeat(32), new Uint8Array(50_000)), { code: 'disk-full' }, 'nothing is left that may go');
  await t.rejects(store.fetch(blobOf(noise(200_000)), stream(noise(200_000)).from), { code: 'disk-full' }, 'larger than the quota');
  release();
  unpin();
  unpin();
  const large = noise(80_000, 7);
  t.equal((await store.fetch(blobOf(large), stream(large).from)).received, 80_000);
  t.notOk(await store.has(oldest));

  const another = new BlobStore({ folder, quotaBytes: 100_000 });
  await another.put(blobOf(noise(40_000, 8)).sha256, noise(40_000, 8));
  t.notOk(await store.has(blobOf(large).sha256), 'another process counts what it finds');
});

t.test('a blob that has gone bad on disk is found out', async (t) => {
  const folder = await home(t);
  const store = new BlobStore({ folder });
  const bytes = noise(10_000);
  const { sha256 } = blobOf(bytes);
  await store.put(sha256, bytes);
  t.ok((await store.read(sha256)).equals(bytes));
  const path = join(folder, 'blobs', sha256.slice(0, 2), sha256.slice(2));
  await writeFile(path, noise(10_000, 2));
  await t.rejects(store.read(sha256), { code: 'asset-unknown' });
  t.notOk(await store.has(sha256), 'and removed');
});

t.test('a full disk is named', { skip: process.getuid?.() === 0 ? false : 'needs root to make a small disk' }, async (t) => {
  const folder = await home(t);
  await mkdir(join(folder, 'small'));
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', join(folder, 'small')]);
  } catch {
    return void t.pass('no file system can be mounted here');
  }
  t.teardown(() => run('umount', [join(folder, 'small')]));
  const store = new BlobStore({ folder: join(folder, 'small') });
  const bytes = noise(400_000);
  await t.rejects(store.fetch(blobOf(bytes), stream(bytes).from), { code: 'disk-full' });
  await t.rejects(store.put(blobOf(bytes).sha256, bytes), { code: 'disk-full' });
  t.same(await partialTransfers(join(folder, 'small')), [], 'what did not fit does not stay');
  await store.put(blobOf(noise(1_000)).sha256, noise(1_000));
});
