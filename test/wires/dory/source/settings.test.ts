import t from 'tap';
import * as v from 'valibot';
import { createLog } from '../../../../src/log.js';
import { limitedLog, Settings } from '../../../../src/wires/dory/source/settings.js';
import { distributedRuns, heartbeatReply, runConfig } from '../../../../src/wires/dory/source/shapes.js';

const reply = (config: object, more: object = {}) => v.parse(heartbeatReply, { config, ...more });
const run = (config: object) => v.parse(runConfig, { actorConfig: {}, ...config });

t.test('a run’s own beats this Worker’s override beats the API’s global beats the environment beats the default', async (t) => {
  const settings = new Settings('w1', { containerCount: 2, dockerImage: 'env' }, false);
  t.same(settings.ofRun(run({})), { containers: 2, image: 'env', crawlerRedisUrl: undefined });
  t.equal(settings.maxConcurrentRuns, 2, 'default');
  t.equal(
    settings.apply(reply({ containerCount: 3, maxConcurrentRuns: 5, workers: { w2: { containerCount: 9 } } }, { configVersion: 'v1' })),
    true,
  );
  t.match(settings.ofRun(run({})), { containers: 3, image: 'env' });
  t.equal(settings.maxConcurrentRuns, 5);
  t.equal(settings.apply(reply({ containerCount: 3, workers: { w1: { containerCount: 4, dockerImage: 'mine' } } })), true);
  t.match(settings.ofRun(run({})), { containers: 4, image: 'mine' });
  t.match(settings.ofRun(run({ containerCount: 1, dockerImage: 'run' })), { containers: 1, image: 'run' });
  t.equal(
    settings.apply(reply({ containerCount: 3, workers: { w1: { containerCount: 4, dockerImage: 'mine' } } })),
    false,
    'the same again',
  );
  t.equal(settings.apply(v.parse(heartbeatReply, {})), false, 'none is no change');
  t.match(settings.ofRun(run({})), { containers: 4 });
});

t.test('pinned, the API’s settings are ignored', async (t) => {
  const settings = new Settings('w1', { containerCount: 2 }, true);
  t.equal(settings.apply(reply({ containerCount: 3, dockerImage: 'x', workers: { w1: { maxConcurrentRuns: 9 } } })), false);
  t.equal(settings.maxConcurrentRuns, 2);
  t.match(settings.ofRun(run({ containerCount: 7, dockerImage: 'run' })), { containers: 2, image: 'run' });
  t.match(new Settings('w1', { dockerImage: 'env' }, true).ofRun(run({ containerCount: 7, dockerImage: 'run' })), {
    containers: 1,
    image: 'env',
  });
});

t.test('what makes no sense is absent', async (t) => {
  const settings = new Settings('w1', { containerCount: 2 }, false);
  for (const containerCount of [null, 0, -1, 1.5, '3', Number.NaN, {}]) t.equal(settings.ofRun(run({ containerCount })).containers, 2);
  t.same(run({ memoryLimitMb: null, dockerImage: '', status: 5 }), {
    actorConfig: {},
    ...Object.fromEntries(['dockerImage', 'memoryLimitMb', 'status'].map((name) => [name, undefined])),
  });
  settings.apply(reply({ containerCount: 'many', maxConcurrentRuns: 4, crawlerRedisUrl: 'nowhere', workers: { w1: 'all' } }));
  t.equal(settings.maxConcurrentRuns, 4);
  t.equal(settings.ofRun(run({})).containers, 2);
  t.same(v.parse(heartbeatReply, { config: 'none', cancelled: 'all' }), { config: undefined, cancelled: [] });
});

t.test('a bound that cannot be kept is refused, never altered', async (t) => {
  for (const memoryLimitMb of ['512', 0, -1, 1.5, {}]) t.throws(() => run({ memoryLimitMb }), /whole number of MiB/, String(memoryLimitMb));
  for (const actorTimeoutSecs of ['60', 0, -1]) t.throws(() => run({ actorTimeoutSecs }), /number of seconds/, String(actorTimeoutSecs));
  t.throws(() => run({ containerCount: 1_001 }), /more than 1000 containers/);
  t.match(run({ memoryLimitMb: 4_096, actorTimeoutSecs: 0.5, containerCount: 1_000 }), {
    ...{ memoryLimitMb: 4_096, actorTimeoutSecs: 0.5, containerCount: 1_000 },
  });
});

t.test('the list of distributed runs is read in each of its shapes', async (t) => {
  const at = '2026-01-02T03:04:05.000Z';
  const runs = [
    { runId: 'a', coordinatorWorkerId: 'c', participants: ['x', { workerId: 'y', heartbeatAt: at }], containerCount: 2 },
    { runId: 'b' },
    { nothing: 1 },
  ];
  const read = v.parse(distributedRuns, runs);
  t.match(read, [
    { runId: 'a', participants: [{ workerId: 'x' }, { workerId: 'y', heartbeatAt: Date.parse(at) }], exits: [] },
    { runId: 'b', participants: [] },
  ]);
  t.equal(read.length, 2);
  t.same(v.parse(distributedRuns, { runs }), read);
  t.notOk(v.safeParse(distributedRuns, 'none').success);
});

t.test('the API can make this source quieter, not louder', async (t) => {
  const lines: string[] = [];
  let level: 'error' | 'debug' | undefined;
  const log = limitedLog(createLog({ level: 'info', write: (line) => lines.push(line) }), () => level).with({ source: 'dory' });
  log.info('one');
  level = 'error';
  log.warn('two');
  log.error('three');
  level = 'debug';
  log.debug('four');
  log.info('five');
  t.same(
    lines.map((line) => /(\w+) source=dory$/.exec(line)?.[1]),
    ['one', 'three', 'five'],
  );
});
