import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../src/clock.js';
import type { Settlement } from '../../src/job/verbs.js';
import { createLog, silentLog } from '../../src/log.js';
import { Outbox } from '../../src/sources/outbox.js';
import { frame, readRecords, type SegmentFile, type SegmentFiles, segmentFiles } from '../../src/sources/outbox-segment.js';
import { requireTools } from '../lab/require.js';

const key = randomBytes(32);
const OUTBOX = new URL('../../src/sources/outbox.js', import.meta.url).pathname;

function settlement(id: string): Settlement {
  return { id, lease: 1, outcome: { state: 'completed', output: 'x' }, startedAt: 1, finishedAt: 2 };
}

interface Faults {
  /** The write that reaches this byte, counted over all files, stops there. */
  failAt: number;
  code: string;
  truncates: boolean;
  /** Maximum number of bytes that one write accepts. */
  atOnce: number;
}

/** The real file system with injected faults. */
function faulty(faults: Faults): SegmentFiles {
  let written = 0;
  const fail = () => Object.assign(new Error(`${faults.code}: injected`), { code: faults.code });
  return {
    ...segmentFiles,
    async open(path) {
      const file = await segmentFiles.open(path);
      const write = async (bytes: Uint8Array, offset: number, length: number) => {
        const room = faults.failAt - written;
        if (room <= 0) throw fail();
        const count = Math.min(length, room, faults.atOnce);
        await file.write(bytes, offset, count);
        written += count;
        return { bytesWritten: count, buffer: bytes };
      };
      const truncate = async (length?: number) => {
        if (!faults.truncates) throw fail();
        await file.truncate(length);
      };
      return { write: write as SegmentFile['write'], truncate, close: () => file.close() };
    },
  };
}

async function put(outbox: Outbox, id: string): Promise<void> {
  const safe = outbox.put(settlement(id));
  await outbox.flush();
  await Promise.race([safe, new Promise((resolve) => setTimeout(resolve, 0))]);
}

t.test('a write that fails at any byte of a record costs nothing that was confirmed, before it or behind it', async (t) => {
  const probe = t.testdir({ probe: {}, boxes: {} });
  const sizeOf = async (id: string) => {
    const outbox = await Outbox.open({ folder: join(probe, 'probe', id), key, clock: systemClock, log: silentLog });
    await put(outbox, id);
    const { length } = readFileSync(join(probe, 'probe', id, '1.outbox'));
    await outbox.close();
    return length;
  };
  const [whole, torn] = [await sizeOf('before'), await sizeOf('torn')];
  const wrong: string[] = [];
  let runs = 0;
  for (const truncates of [true, false])
    for (const code of ['ENOSPC', 'EIO'])
      for (const atOnce of [7, 1_000_000]) {
        for (let failAt = whole; failAt < whole + torn; failAt += 1) {
          runs += 1;
          const folder = join(probe, 'boxes', `${runs}`);
          const faults: Faults = { failAt, code, truncates, atOnce };
          const options = { folder, key, clock: systemClock, log: silentLog };
          const outbox = await Outbox.open({ ...options, files: faulty(faults) });
          const confirmed = new Set<string>();
          const confirm = (id: string) => outbox.put(settlement(id)).then(() => confirmed.add(id));
          void confirm('before');
          await outbox.flush();
          void confirm('torn');
          await outbox.flush();
          if (!confirmed.has('before') || confirmed.has('torn')) wrong.push(`${failAt}: ${[...confirmed]}`);
          faults.failAt = Number.POSITIVE_INFINITY; // there is space again
          void confirm('behind');
          await outbox.flush();
          if (!confirmed.has('behind') || !confirmed.has('torn')) wrong.push(`${failAt}: not tried again, ${[...confirmed]}`);
          // No close: the process is killed.
          const again = await Outbox.open(options);
          const found = new Set(again.pending().map(({ id }) => id));
          for (const id of confirmed) if (!found.has(id)) wrong.push(`${code} ${truncates} ${atOnce} at ${failAt}: ${id} is lost`);
          await outbox.close();
          await again.close();
        }
      }
  t.same(wrong, []);
  t.ok(runs > 800, `${runs} faults`);
});

t.test('records are found behind torn bytes of any length, and in files of before the marks', async (t) => {
  const hash = (name: string) => createHash('sha256').update(name).digest();
  const seal = (name: string) => Buffer.concat([hash(name), Buffer.from(name)]);
  const unseal = (sealed: Buffer) => {
    const name = sealed.subarray(32).toString();
    return sealed.subarray(0, 32).equals(hash(name)) ? name : undefined;
  };
  const [one, two, three] = ['one', 'two', 'three'].map((name) => frame(seal(name))) as [Buffer, Buffer, Buffer];
  for (let cut = 0; cut < two.length; cut += 1) {
    const { records, torn } = readRecords(Buffer.concat([one, two.subarray(0, cut), three]), unseal);
    t.same(records, ['one', 'three']);
    t.equal(torn, cut > 0);
  }
  for (let at = 0; at < two.length; at += 1) {
    const damaged = Buffer.from(two);
    damaged[at] = (damaged[at] ?? 0) ^ 0xff;
    const { records } = readRecords(Buffer.concat([one, damaged, three]), unseal);
    t.ok(records.includes('one') && records.includes('three'), `byte ${at}`);
  }
  for (let round = 0; round < 300; round += 1) {
    const noise = randomBytes(round);
    t.same(readRecords(Buffer.concat([one, noise, three]), unseal).records, ['one', 'three']);
  }
  const old = (name: string) => frame(seal(name)).subarray(8);
  t.same(readRecords(Buffer.concat([old('one'), old('two'), three]), unseal), { records: ['one', 'two', 'three'], torn: false });
  t.same(readRecords(Buffer.concat([old('one'), old('two').subarray(0, 5)]), unseal), { records: ['one'], torn: true });
});

t.test('a file that cannot be read does not keep it from opening', async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, '3.outbox'));
  writeFileSync(join(folder, '2.outbox'), randomBytes(100));
  const lines: string[] = [];
  const outbox = await Outbox.open({
    folder,
    key,
    clock: systemClock,
    log: createLog({ level: 'error', write: (line) => lines.push(line) }),
  });
  await put(outbox, 'a');
  await outbox.close();
  t.match(lines, [/cannot be read.*3\.outbox/]);
  t.same(readdirSync(folder).sort(), ['3.outbox', '4.outbox']);
});

t.test('what could not be written is named when it is lost', async (t) => {
  const lines: string[] = [];
  const log = createLog({ level: 'info', write: (line) => lines.push(line) });
  const faults: Faults = { failAt: 0, code: 'ENOSPC', truncates: true, atOnce: 100 };
  const outbox = await Outbox.open({ folder: t.testdir(), key, clock: systemClock, log, files: faulty(faults) });
  const safe = outbox.put(settlement('gone'));
  await outbox.close();
  await safe;
  t.match(lines, [/cannot be written; outcomes stay in memory code=disk-full/, /outcomes are lost.*gone/]);
});

t.test('on a full disk nothing confirmed is lost, and it goes on when there is room', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux', mount: 'util-linux' }, { root: true })) return;
  const program = `
    const { Outbox } = await import(process.argv[1]);
    const { writeFileSync, rmSync } = await import('node:fs');
    const [folder, filler] = ['box', 'filler'];
    const clock = { now: () => Date.now(), after: (ms, action) => { const timer = setTimeout(action, ms); return { cancel: () => clearTimeout(timer) }; } };
    const lines = [];
    const log = { error: (message, fields) => lines.push(message + ' ' + fields?.code), warn() {}, info: (message) => lines.push(message), debug() {} };
    const options = { folder, key: new Uint8Array(32), clock, log };
    writeFileSync(filler, Buffer.alloc(40_000));
    const outbox = await Outbox.open(options);
    const confirmed = [];
    const put = (id) => outbox.put({ id, lease: 1, outcome: { state: 'completed', output: 'x'.repeat(5_000) }, startedAt: 1, finishedAt: 2 }).then(() => confirmed.push(id));
    for (let at = 0; at < 12; at += 1) { put('job-' + at); await outbox.flush(); }
    const full = confirmed.length;
    rmSync(filler);
    while (confirmed.length < 12) await new Promise((resolve) => setTimeout(resolve, 50));
    const again = await Outbox.open(options);
    console.log(JSON.stringify({ full, found: again.pending().map(({ id }) => id).sort(), confirmed: confirmed.sort(), lines }));
    await outbox.close(); await again.close();`;
  const script = 'mount -t tmpfs -o size=96k none "$1" && cd "$1" && exec "$2" --input-type=module -e "$3" "$4"';
  const args = ['-m', 'sh', '-ec', script, 'sh', t.testdir(), process.execPath, program, OUTBOX];
  const { stdout, stderr, status } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 240_000 });
  t.equal(status, 0, stderr);
  const { full, found, confirmed, lines } = JSON.parse(stdout) as Record<'found' | 'confirmed' | 'lines', string[]> & { full: number };
  t.ok(full > 3 && full < 12, `the disk was full after ${full}`);
  t.same(found, confirmed);
  t.match(lines, [/cannot be written.*disk-full/, /can be written again/]);
});
