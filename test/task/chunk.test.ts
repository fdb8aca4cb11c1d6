import { createHash } from 'node:crypto';
import t from 'tap';
import { chunks, MAX_CHUNK_BYTES } from '../../src/task/chunk.js';
import { noise } from './fixtures.js';

const MIB = 1024 * 1024;

async function splitIntoChunks(bytes: Uint8Array, pieceBytes = MIB): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
  }
  let total = 0;
  for await (const chunk of chunks(pieces())) {
    found.set(createHash('sha256').update(chunk).digest('hex'), chunk.length);
    total += chunk.length;
  }
  if (total !== bytes.length) throw new Error(`${total} of ${bytes.length} bytes`);
  return found;
}

function newBytes(before: Map<string, number>, after: Map<string, number>): number {
  let sum = 0;
  for (const [hash, size] of after) if (!before.has(hash)) sum += size;
  return sum;
}

t.test('the cuts are those of all versions before', async (t) => {
  const sizes = [...(await splitIntoChunks(noise(4 * MIB))).values()];
  t.same(
    sizes,
    [
      265837, 266982, 227256, 269740, 124394, 232939, 216689, 260214, 233300, 271762, 95983, 240604, 278939, 239097, 247272, 239016, 298869,
      185411,
    ],
  );
  t.same([...(await splitIntoChunks(noise(4 * MIB), 33_333)).values()], sizes, 'in whatever pieces the file is read');
  t.same([...(await splitIntoChunks(new Uint8Array(3 * MIB))).values()], [MAX_CHUNK_BYTES], 'zeros are one chunk, many times');
  t.same([...(await splitIntoChunks(noise(100))).values()], [100]);
  t.equal((await splitIntoChunks(new Uint8Array(0))).size, 0);
});

t.test('a small change to 50 MiB is a small change', async (t) => {
  const bytes = noise(50 * MIB);
  const before = await splitIntoChunks(bytes);
  const average = (50 * MIB) / before.size;
  t.ok(average > 200 * 1024 && average < 320 * 1024, `chunks of ${Math.round(average / 1024)} KiB`);
  for (const at of [0, 12_345_678, 50 * MIB - 1]) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0xff;
    t.ok(newBytes(before, await splitIntoChunks(changed)) <= MIB, `one byte changed at ${at}`);
    const inserted = Buffer.concat([bytes.subarray(0, at), Buffer.from('x'), bytes.subarray(at)]);
    t.ok(newBytes(before, await splitIntoChunks(inserted)) <= MIB, `one byte inserted at ${at}`);
  }
});
