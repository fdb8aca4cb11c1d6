import t from 'tap';
import { systemClock } from '../../../src/clock.js';
import { PeerworkError } from '../../../src/errors.js';
import type { Progress } from '../../../src/job/job.js';
import { MAX_REPORT_BYTES, MAX_REPORTS } from '../../../src/job/limits.js';
import type { LeaseKey, Report } from '../../../src/job/verbs.js';
import { silentLog } from '../../../src/log.js';
import { ReportSender } from '../../../src/sources/master/report-sender.js';
import { RunReports } from '../../../src/sources/master/run-reports.js';
import type { Rpc } from '../../../src/swarm/peer.js';

const key = { id: 'a', lease: 1 };
const logLine = (line: string): Progress => ({ kind: 'log', stream: 'stdout', line });
const progress = (value: number): Progress => ({ kind: 'progress', value });

t.test('what a run tells is numbered, and kept until it is answered', async (t) => {
  const run = new RunReports(key, { held: 0 });
  run.add(logLine('one'), 5);
  run.add(progress(0.1), 6);
  run.add(progress(0.2), 7);
  t.same(run.send(), [
    { n: 1, progress: logLine('one') },
    { n: 2, progress: progress(0.2) },
  ]);
  run.add(progress(0.3), 8);
  run.acknowledge(1, 9);
  t.same(run.all(), [
    { n: 2, progress: progress(0.2) },
    { n: 3, progress: progress(0.3) },
  ]);
  run.acknowledge(3, 10);
  t.ok(run.empty);
});

t.test('beyond its room the oldest lines go, which is said; the last progress stays', async (t) => {
  const shared = { held: 0 };
  const run = new RunReports(key, shared);
  run.add(progress(0.5), 0);
  for (let n = 0; n < 3_000; n += 1) run.add(logLine(`line ${n}`), 0);
  const kept = run.all();
  t.ok(kept.length <= MAX_REPORTS);
  t.match(kept[0], { progress: progress(0.5) });
  t.match(kept[1], { progress: { line: /^\(2002 lines were dropped/ } });
  t.match(kept.at(-1), { n: 3_001, progress: { line: 'line 2999' } });
  for (let n = 0; n < 1_000; n += 1) run.add(logLine('ü'.repeat(8_000)), 0);
  t.ok(Buffer.byteLength(JSON.stringify(run.all())) < MAX_REPORT_BYTES);
  shared.held += 64 * 1024 * 1024;
  run.add(logLine('when others have filled the memory'), 0);
  t.ok(Buffer.byteLength(JSON.stringify(run.all())) < 128 * 1024);
  shared.held -= 64 * 1024 * 1024;
  run.clear();
  t.equal(shared.held, 0);
});

t.test('what was under way when the link ended goes over the next; what an outcome takes is not sent', async (t) => {
  const sent: { link: string; reports: (LeaseKey & Report)[]; answer(error?: Error): void }[] = [];
  let came: () => void = () => {};
  const link = (name: string): Rpc =>
    ({
      call: (_verb: string, { reports }: { reports: (LeaseKey & Report)[] }) =>
        new Promise<unknown>((resolve, reject) => {
          sent.push({ link: name, reports, answer: (error) => (error === undefined ? resolve({}) : reject(error)) });
          came();
        }),
    }) as unknown as Rpc;
  const next = async (count: number) => {
    while (sent.length < count)
      await new Promise<void>((resolve) => {
        came = resolve;
      });
    return sent[count - 1] as (typeof sent)[number];
  };
  // Its timers do not keep the process alive.
  const alive = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(alive));
  const sender = new ReportSender(systemClock, silentLog);
  t.teardown(() => sender.close());
  const first = link('first');
  sender.connect(first);
  const run = sender.open(key);
  const quick = sender.open({ id: 'quick', lease: 1 });
  sender.add(run, logLine('one'));
  sender.add(quick, logLine('of the quick one'));
  t.same(sender.take(quick), [{ n: 1, progress: logLine('of the quick one') }]);
  const lost = await next(1);
  t.same(lost.reports, [{ ...key, n: 1, progress: logLine('one') }]);
  sender.add(run, logLine('two'));
  sender.disconnect(first);
  lost.answer(new PeerworkError('link-lost'));
  sender.connect(link('second'));
  const again = await next(2);
  t.equal(again.link, 'second');
  t.same(
    again.reports.map(({ n }) => n),
    [1, 2],
  );
  again.answer();
  sender.add(run, logLine('three'));
  t.same((await next(3)).reports, [{ ...key, n: 3, progress: logLine('three') }]);
  t.same(sender.take(run), [{ n: 3, progress: logLine('three') }], 'not answered yet');
});
