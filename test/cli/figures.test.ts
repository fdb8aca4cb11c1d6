import t from 'tap';
import { Meter } from '../../src/cli/figures.js';

t.test('a rate is that of the last ten seconds', async (t) => {
  let now = 0;
  const meter = new Meter(() => now);
  for (; now < 60_000; now += 50) meter.add();
  t.equal(meter.perSecond, 20);
  now += 5_000;
  t.equal(meter.perSecond, 10);
  now += 20_000;
  t.equal(meter.perSecond, 0);
});

t.test('a rate that nobody reads takes no more memory than its window', async (t) => {
  let now = 0;
  const meter = new Meter(() => now);
  for (; now < 3_600_000; now += 100) meter.add();
  t.ok(meter.size <= 101, `${meter.size} marks`);
});
