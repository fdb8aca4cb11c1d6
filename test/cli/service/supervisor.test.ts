import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { RotatingLog } from '../../../src/cli/service/rotating-log.js';
import { Supervisor } from '../../../src/cli/service/supervisor.js';
import { systemClock } from '../../../src/clock.js';
import { until } from '../../lab/until.js';

t.test('the last lines of a Worker stand in the log before what is said of its end', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'worker.log');
  const log = new RotatingLog(file, 10_000_000);
  // A child in another process group writes the last line after the Worker's exit, like a slow pipe.
  const program = `require('node:child_process').spawn('sh', ['-c', 'sleep 0.3; echo the last line'], { detached: true, stdio: 'inherit' }).unref();
    console.log('the first line'); process.exit(3)`;
  const supervisor = new Supervisor({
    folder,
    command: [process.execPath, '-e', program],
    cwd: folder,
    env: process.env as Record<string, string>,
    drainMs: 1_000,
    log,
    clock: systemClock,
  });
  const running = supervisor.run();
  const text = () => readFileSync(file, 'utf8');
  await until(() => text().includes('the Worker ended'));
  supervisor.stop();
  await running;
  log.close();
  t.match(text(), /^the first line\nthe last line\n\S+ supervisor: the Worker ended \(exit code 3\)/);
});
