import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { type Log, silentLog } from '../../src/log.js';
import { FileCache } from '../../src/task/file-cache.js';
import { temporaryFolder } from '../ledger/engines.js';

const never = new AbortController().signal;

/** A Master that has these contents; counts the bytes that it sends. */
class Origin {
  readonly files: Record<string, { sha256: string; size: number }> = {};
  readonly parents = [];
  readonly #contents = new Map<string, Buffer>();
  sent = 0;
  offsets: number[] = [];
  /** The link is cut after so many bytes. */
  cutAfter = Number.POSITIVE_INFINITY;
  /** What is sent in place of the content. */
  instead: ((content: Buffer) => Buffer) | undefined;

  add(name: string, content: string | Buffer): this {
    const bytes = Buffer.from(content);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    this.files[name] = { sha256, size: bytes.length };
    this.#contents.set(sha256, bytes);
    return this;
  }

  async *open(sha256: string, offset: number) {
    this.offsets.push(offset);
    let content = this.#contents.get(sha256) ?? Buffer.alloc(0);
    if (this.instead !== undefined) content = this.instead(content);
    for (let at = offset; at < content.length; at += 1_000) {
      const piece = content.subarray(at, at + 1_000);
      this.sent += piece.length;
      yield piece;
      if (at + piece.length >= this.cutAfter) throw new PeerworkError('link-lost');
    }
  }
}

function openCache(t: Test, { folder = temporaryFolder(t), quotaBytes = 1e9, log = silentLog as Log } = {}) {
  return { folder, cache: new FileCache({ folder, quotaBytes, log }) };
}

t.test('files are fetched once, whatever jobs and names they have, and nobody can write to them', async (t) => {
  const { cache } = openCache(t);
  const origin = new Origin().add('a.txt', 'alpha').add('in/b.txt', 'beta').add('same.txt', 'alpha');
  const first = await cache.fetch(origin, never);
  t.equal(readFileSync(first.paths.own['a.txt'] ?? '', 'utf8'), 'alpha');
  t.equal(readFileSync(first.paths.own['in/b.txt'] ?? '', 'utf8'), 'beta');
  t.equal(first.paths.own['same.txt'], first.paths.own['a.txt']);
  t.equal(origin.sent, 9);
  t.equal(statSync(first.paths.own['a.txt'] ?? '').mode & 0o222, 0);
  const [one, two] = await Promise.all([cache.fetch(origin, never), cache.fetch(origin, never)]);
  t.same([one.paths, two.paths], [first.paths, first.paths]);
  t.equal(origin.sent, 9, 'nothing is sent again');
});

t.test('two jobs at once share one transfer', async (t) => {
  const { cache } = openCache(t);
  const origin = new Origin().add('a', Buffer.alloc(100_000, 7));
  await Promise.all([cache.fetch(origin, never), cache.fetch(origin, never)]);
  t.equal(origin.sent, 100_000);
});

t.test('a cut link costs nothing of what has come, in this process and in the next', async (t) => {
  const { folder, cache } = openCache(t);
  const origin = new Origin().add('a', Buffer.from(Array.from({ length: 50_000 }, (_, at) => at % 251)));
  origin.cutAfter = 20_000;
  await t.rejects(cache.fetch(origin, never), { code: 'link-lost' });
  origin.cutAfter = 40_000;
  await t.rejects(cache.fetch(origin, never), { code: 'link-lost' });
  origin.cutAfter = Number.POSITIVE_INFINITY;
  const later = openCache(t, { folder }).cache;
  const {
    paths: { own: paths },
  } = await later.fetch(origin, never);
  t.equal(statSync(paths['a'] ?? '').size, 50_000);
  t.same(origin.offsets, [0, 20_000, 40_000]);
  t.equal(origin.sent, 50_000);
});

t.test('what a killed process leaves is gone on from', async (t) => {
  const { folder, cache } = openCache(t);
  const origin = new Origin().add('a', 'x'.repeat(5_000));
  await cache.fetch(new Origin(), never);
  const { sha256 = '' } = origin.files['a'] ?? {};
  writeFileSync(join(folder, 'arriving-files', `${sha256}.4194303.abcdef01234567`), 'x'.repeat(3_000));
  await openCache(t, { folder }).cache.fetch(origin, never);
  t.same(origin.offsets, [3_000]);
  t.same(readdirSync(join(folder, 'arriving-files')), []);
});

t.test('other content is refused: what came damaged is fetched again, and twice is an error', async (t) => {
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => warnings.push(message) } as unknown as Log;
  const { folder, cache } = openCache(t, { log });
  const origin = new Origin().add('a', 'x'.repeat(5_000));
  let times = 0;
  origin.instead = (content) => {
    times += 1;
    return times === 1 ? Buffer.alloc(content.length, 'y') : content;
  };
  const {
    paths: { own: paths },
  } = await cache.fetch(origin, never);
  t.equal(readFileSync(paths['a'] ?? '', 'utf8'), 'x'.repeat(5_000));
  t.match(warnings, [/arrived damaged/]);
  for (const instead of [
    (content: Buffer) => Buffer.concat([content, content]),
    (content: Buffer) => content.subarray(0, 10),
    (content: Buffer) => Buffer.alloc(content.length),
  ]) {
    const bad = new Origin().add('b', `${instead}`.repeat(100));
    bad.instead = instead;
    await t.rejects(cache.fetch(bad, never), { code: 'file-mismatch' });
  }
  t.same(readdirSync(join(folder, 'arriving-files')), [], 'nothing of it stays');
});

t.test('a file that somebody has altered between two Workers is found, and fetched again', async (t) => {
  const { folder, cache } = openCache(t);
  const origin = new Origin().add('a', 'alpha');
  const {
    paths: { own: paths },
  } = await cache.fetch(origin, never);
  chmodSync(paths['a'] ?? '', 0o600);
  writeFileSync(paths['a'] ?? '', 'gamma');
  const again = await openCache(t, { folder }).cache.fetch(origin, never);
  t.equal(readFileSync(again.paths.own['a'] ?? '', 'utf8'), 'alpha');
});

t.test('the quota: what was used longest ago goes, what a job uses stays', async (t) => {
  const { cache } = openCache(t, { quotaBytes: 10_000 });
  const fetched = async (name: string) => cache.fetch(new Origin().add(name, name.repeat(4_000)), never);
  const a = await fetched('a');
  (await fetched('b')).release();
  const c = await fetched('c');
  t.ok(existsSync(a.paths.own['a'] ?? ''), 'in use');
  t.ok(existsSync(c.paths.own['c'] ?? ''));
  await t.rejects(fetched('d'), { code: 'disk-full' });
  a.release();
  (await fetched('d')).release();
  t.notOk(existsSync(a.paths.own['a'] ?? ''));
});

t.test('a caller that gives up does not take the file from others', async (t) => {
  const { cache } = openCache(t);
  const origin = new Origin().add('a', 'x'.repeat(50_000));
  const leaving = new AbortController();
  const gone = cache.fetch(origin, leaving.signal);
  const staying = cache.fetch(origin, never);
  leaving.abort();
  await t.rejects(gone);
  t.equal(statSync((await staying).paths.own['a'] ?? '').size, 50_000);
});
