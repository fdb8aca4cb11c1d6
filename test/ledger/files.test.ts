import t, { type Test } from 'tap';
import type { Driver } from '../../src/ledger/driver.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { engines } from './engines.js';
import { ann, ben, claimOne, completed, NOW } from './verbs.js';

const DAY = 86_400_000;
const refOf = (digit: string, size = 3) => ({ sha256: digit.repeat(64), size });

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger, driver: Driver) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => {
      const { ledger, driver } = await engine.open(t);
      await body(t, ledger, driver);
    });
  const enter = async (ledger: Ledger, file: { sha256: string; size: number }, at = NOW) =>
    ledger.files.enter({ ...file, seq: await ledger.files.draw() }, at);

  test('a job names files that are stored, and its run gets the references', async (t, ledger) => {
    const [a, b] = [refOf('a'), refOf('b')];
    await enter(ledger, a);
    await t.rejects(ledger.add([{ id: 'x', data: 1, files: { 'in.txt': b } }], NOW), { code: 'file-unknown', message: /"in.txt"/ });
    await t.rejects(ledger.add([{ id: 'x', data: 1, files: { 'in.txt': { ...a, size: 4 } } }], NOW), { code: 'file-unknown' });
    t.equal(await ledger.get('x'), undefined, 'nothing of it is added');
    await ledger.add(
      [
        { id: 'x', data: 1, files: { 'in.txt': a, 'again.txt': a } },
        { id: 'plain', data: 1 },
      ],
      NOW,
    );
    t.match(await ledger.get('x'), { files: { 'in.txt': a, 'again.txt': a } });
    const job = await claimOne(ledger);
    t.strictSame(job.files, { 'in.txt': a, 'again.txt': a });
    t.notOk('files' in (await claimOne(ledger)), 'a job without files has no such field');
    t.match(await ledger.files.ofLease(ann, job, a.sha256), a);
    t.equal(await ledger.files.ofLease(ben, job, a.sha256), undefined, 'not to another worker');
    t.equal(await ledger.files.ofLease(ann, { ...job, lease: 2 }, a.sha256), undefined, 'nor under another lease');
    await enter(ledger, b);
    t.equal(await ledger.files.ofLease(ann, job, b.sha256), undefined, 'nor what the job does not name');
    await ledger.settle(ann, [completed(job)], NOW);
    t.equal(await ledger.files.ofLease(ann, job, a.sha256), undefined, 'nor when it has ended');
  });

  test('one entry for one content, whoever was first', async (t, ledger) => {
    const first = await enter(ledger, refOf('a'));
    const second = await enter(ledger, refOf('a'));
    t.equal(second.seq, first.seq);
    t.match(await ledger.files.use(first.sha256, NOW), first);
    t.equal(await ledger.files.use('f'.repeat(64), NOW), undefined);
  });

  test('a sweep removes what no job and no schedule names, when it was unused for long enough', async (t, ledger) => {
    for (const digit of ['a', 'b', 'c', 'd']) await enter(ledger, refOf(digit));
    await ledger.add([{ id: 'x', data: 1, files: { in: refOf('a') } }], NOW);
    await ledger.putSchedule({ id: 's', cron: '0 0 1 1 *', job: { data: 1, files: { in: refOf('b') } } }, NOW);
    await ledger.files.use(refOf('c').sha256, NOW + DAY);
    const swept = (at: number) => ledger.files.sweep(at, 10).then((files) => files.map(({ sha256 }) => sha256[0]).sort());
    t.strictSame(await swept(NOW), [], 'none is old enough');
    t.strictSame(await swept(NOW + 1), ['d']);
    t.strictSame(await swept(NOW + DAY + 1), ['c']);
    await ledger.delete(['x'], NOW);
    await ledger.deleteSchedule('s');
    t.strictSame(await swept(NOW + DAY + 1), ['a', 'b'], 'with the job and the schedule they go too');
    const again = await enter(ledger, refOf('a'));
    t.ok(again.seq > 4, 'stored again, it has another number');
  });

  test('a file that a job has just named is used from then on', async (t, ledger) => {
    await enter(ledger, refOf('a'));
    await ledger.add([{ id: 'x', data: 1, files: { in: refOf('a') } }], NOW + DAY);
    await ledger.delete(['x'], NOW + DAY);
    t.strictSame(await ledger.files.sweep(NOW + DAY, 10), []);
    t.equal((await ledger.files.sweep(NOW + DAY + 1, 10)).length, 1);
  });

  test('children refer to files without sending them again; what is not stored fails the run', async (t, ledger) => {
    await enter(ledger, refOf('a'));
    await ledger.add(
      [
        { id: 'x', data: 1 },
        { id: 'y', data: 1 },
      ],
      NOW,
    );
    const x = await claimOne(ledger);
    await ledger.settle(ann, [completed(x, 1, { children: [{ id: 'child', data: 1, files: { in: refOf('a') } }] })], NOW);
    t.match(await ledger.get('child'), { state: 'ready', files: { in: refOf('a') } });
    const y = await claimOne(ledger);
    await ledger.settle(ann, [completed(y, 1, { children: [{ id: 'lost', data: 1, files: { in: refOf('e') } }] })], NOW);
    t.match(await ledger.get('y'), { state: 'failed', error: { code: 'children-invalid', message: /file that is not stored/ } });
    t.equal(await ledger.get('lost'), undefined);
  });
}
