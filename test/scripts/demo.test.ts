import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { packageRoot } from '../lab/grid.js';

const PNG_SIGNATURE = '89504e470d0a1a0a';

t.test('the demo paints its picture, says how it went, and leaves nothing behind', async (t) => {
  const dir = t.testdir();
  const before = leftovers();
  // In a process group of its own, so that processes that outlive it can be found.
  const demo = execa(process.execPath, [join(packageRoot, 'scripts/demo.mjs'), 'demo.png'], {
    cwd: dir,
    detached: true,
    all: true,
    reject: false,
  });
  const group = demo.pid ?? 0;
  t.teardown(() => endGroup(group));
  const { exitCode, all } = await demo;
  t.equal(exitCode, 0, all);
  const picture = readFileSync(join(dir, 'demo.png'));
  t.equal(picture.toString('hex', 0, 8), PNG_SIGNATURE);
  t.same([picture.readUInt32BE(16), picture.readUInt32BE(20)], [1200, 800]);
  t.match(all, /jobs +24 completed, none failed \(attic \d+, cellar \d+\)/);
  t.match(all, /rate +[\d.]+ jobs\/s/);
  t.match(all, /bytes synced +\d{4,}/);
  t.match(all, /connect times +\d+ ms, \d+ ms/);
  t.match(all, /node worker\.js --setup/);
  t.notOk(all.includes('pw1.'), 'no token is shown');
  t.same(readdirSync(dir), ['demo.png']);
  t.notOk(isAlive(group), 'no process of it is left');
  t.same(leftovers(), before, 'no folder of it is left');
});

function leftovers(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('peerwork-demo-'));
}

function isAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

function endGroup(group: number): void {
  if (group > 0 && isAlive(group)) process.kill(-group, 'SIGKILL');
}
