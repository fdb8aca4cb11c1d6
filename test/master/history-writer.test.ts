import t from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import type { Progress } from '../../src/job/job.js';
import type { LeaseKey, Settlement } from '../../src/job/verbs.js';
import { openJobService } from '../lab/job-service.js';
import { ann, ben, claim, completed, NOW, said } from '../ledger/verbs.js';

const atNow: Clock = { ...systemClock, now: () => NOW, wall: () => NOW, after: () => ({ cancel: () => {} }) };
const progress = (value: number): Progress => ({ kind: 'progress', value });
const having = (settlement: Settlement, ...reports: NonNullable<Settlement['reports']>): Settlement => ({ ...settlement, reports });

t.test('an outcome is recorded with all that its run told, in order, each once, and watchers hear it before', async (t) => {
  const { service, ledger } = await openJobService(t, { clock: atNow });
  await ledger.add(
    ['a', 'b'].map((id) => ({ id, data: 1 })),
    NOW,
  );
  const [a, b] = (await claim(ledger)).map(({ id, lease }) => ({ id, lease })) as [LeaseKey, LeaseKey];
  const heard: string[] = [];
  service.watch((event) => {
    if (event.kind === 'progress') heard.push(event.progress.kind === 'log' ? event.progress.line : `progress ${event.progress.value}`);
    if (event.kind === 'ledger') for (const { id, state } of event.change.jobs) heard.push(`${id} ${state}`);
  });
  service.report(ann, [
    { ...a, n: 1, progress: progress(0.1) },
    { ...a, n: 2, progress: said('one') },
    { ...a, n: 3, progress: progress(0.2) },
  ]);
  service.report(ann, [{ ...a, n: 2, progress: said('one') }]);
  service.report(ben, [{ ...a, n: 1, progress: said('of one who does not hold it') }], () => false);
  const settlements = [
    having(completed(a), { n: 3, progress: progress(0.2) }, { n: 4, progress: said('two') }),
    having(completed(b), { n: 1, progress: progress(0.5) }, { n: 2, progress: said('quick') }, { n: 3, progress: progress(1) }),
  ];
  t.same(await service.settle(ann, settlements, 'any', () => true), ['settled', 'settled']);
  const kept = async (id: string) =>
    (await ledger.history(id, 0, 10)).map(({ kind, body }) => (kind === 'progress' ? body : (body as { line: string }).line));
  t.same(await kept('a'), [0.1, 'one', 0.2, 'two']);
  t.same(await kept('b'), ['quick', 1]);
  const told = ['progress 0.1', 'one', 'progress 0.2', 'two', 'progress 0.5', 'quick', 'progress 1'];
  t.same(heard.slice(0, 7), told);
  t.same(heard.slice(7).sort(), ['a completed', 'b completed']);
});

t.test('what is told in time is not lost with what comes too late: the history writes after the end as well', async (t) => {
  const { service, ledger } = await openJobService(t);
  await ledger.add([{ id: 'a', data: 1 }], service.clock.now());
  const [a] = (await claim(ledger, { now: service.clock.now() })).map(({ id, lease }) => ({ id, lease })) as [LeaseKey];
  await ledger.cancel(['a'], service.clock.now());
  service.report(ann, [{ ...a, n: 1, progress: said('on its way out') }]);
  await service.reported();
  t.match(await ledger.history('a', 0, 10), [{ body: { line: 'on its way out' } }]);
});
