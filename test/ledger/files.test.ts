import t, { type Test } from 'tap';
import type { Settlement } from '../../src/job/verbs.js';
import type { Driver } from '../../src/ledger/driver.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { engines } from './engines.js';
import { ann, ben, claimOne, completed, failed, NOW } from './verbs.js';

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

  test('files that a run made: with the outcome, for its children and its duplicates, until the job starts over', async (t, ledger) => {
    const made = { 'a.txt': refOf('a') };
    await ledger.add(
      [
        { id: 'x', data: 1, key: 'k' },
        { id: 'child', data: 1, parents: ['x'] },
        { id: 'same', data: 1, key: 'k', priority: -1 },
      ],
      NOW,
    );
    const x = await claimOne(ledger);
    const outcome = completed(x, 1);
    const withFiles = { ...outcome, outcome: { ...outcome.outcome, files: made } } as Settlement;
    await t.rejects(ledger.settle(ann, [withFiles], NOW), { code: 'file-unknown' });
    t.match(await ledger.get('x'), { state: 'leased' }, 'never counted as delivered before its files are here');
    await enter(ledger, refOf('a'));
    t.same(await ledger.settle(ann, [withFiles], NOW), ['settled']);
    t.same(await ledger.settle(ann, [withFiles], NOW), ['duplicate']);
    t.match(await ledger.get('x'), { settled: { files: made } });
    t.match(await ledger.get('same'), { state: 'completed', settled: { files: made } }, 'a duplicate shares them');
    t.match((await ledger.settledAfter(0, 10)).find(({ job }) => job.id === 'x')?.job.files, made);
    const child = await claimOne(ledger);
    t.match(child.parents, [{ id: 'x', files: made }]);
    t.match(await ledger.files.ofLease(ann, child, refOf('a').sha256), refOf('a'), 'the child may fetch them');
    t.equal(await ledger.files.ofLease(ben, child, refOf('a').sha256), undefined);
    await ledger.add([{ id: 'later', data: 1, key: 'k', keyWindowMs: 1_000 }], NOW);
    t.match(await ledger.get('later'), { state: 'completed', settled: { files: made } }, 'and so does a later duplicate');
    t.same(await ledger.files.sweep(NOW + DAY, 10), [], 'they stay with the jobs');
    await ledger.reset(['x'], NOW);
    t.notOk('settled' in ((await ledger.get('x')) ?? {}));
    const again = await claimOne(ledger);
    await ledger.settle(ann, [completed(again, 1)], NOW);
    t.equal((await ledger.get('x'))?.settled?.files, undefined, 'the next run has made none');
  });

  test('a failed run keeps its files only if the job has failed with it', async (t, ledger) => {
    await enter(ledger, refOf('a'));
    await ledger.add([{ id: 'x', data: 1, attempts: 2, backoffMs: 0 }], NOW);
    const fails = async () => {
      const settlement = failed(await claimOne(ledger));
      await ledger.settle(ann, [{ ...settlement, outcome: { ...settlement.outcome, files: { a: refOf('a') } } } as Settlement], NOW);
    };
    await fails();
    t.match(await ledger.get('x'), { state: 'ready' });
    await fails();
    t.match(await ledger.get('x'), { state: 'failed', settled: { files: { a: refOf('a') } } });
  });
}
