/** A process with a container runner that runs one job, for tests that kill it: `container-worker.js <folder> <image>`. */
import { systemClock } from '../../src/clock.js';
import { silentLog } from '../../src/log.js';
import { ContainerRunner } from '../../src/runners/container/container-runner.js';

const [folder = '', image = ''] = process.argv.slice(2);
const runner = await ContainerRunner.open(
  { pull: 'never' },
  { worker: 'victim', concurrency: 1, memoryMb: 128, folder, clock: systemClock, log: silentLog },
);
const data = { image, command: ['sh', '-c', 'echo started; sleep 1000'], env: { SECRET: 'left-on-disk' }, network: 'internet' };
await runner.run(
  { id: 'a-job', channel: 'default', attempt: 1, timeoutMs: 0, data },
  {
    signal: new AbortController().signal,
    report: (progress) => {
      if (progress.kind === 'log' && progress.stream === 'stdout') console.log(progress.line);
    },
  },
);
