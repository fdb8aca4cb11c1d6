import { performance } from 'node:perf_hooks';
import { systemClock } from '../src/clock.js';
import { openfnRunner, openfnSource, Worker } from '../src/index.js';
import { silentLog } from '../src/log.js';
import { loadEngine } from '../src/wires/openfn/runner/engine.js';
import { type RunEnd, runOnEngine } from '../src/wires/openfn/runner/engine-run.js';
import { adaptorFolder } from '../test/lab/adaptors.js';
import { Lightning } from '../test/lab/lightning.js';
import { type Benchmark, median, quantile } from './lab/report.js';

const ROUNDS = 25;
const WARM_UP = 3;
const MEMORY_MB = 512;
const TIMEOUT_MS = 60_000;
const BODY = 'fn(state => ({ ...state, data: { n: 1 } }))';

/**
 * One trivial step with an adaptor: from the claim until the server has heard that it is complete, beside the same run on the engine
 * alone, in turns. The engine is the same package in both, with its own process.
 */
export const openfn: Benchmark = {
  name: 'openfn',
  async run(lab) {
    const adaptors = adaptorFolder(lab.makeFolder('adaptors'));
    const openEngine = await loadEngine(systemClock);
    const engine = await openEngine({
      repoDir: adaptors.folder,
      memoryLimitMb: MEMORY_MB,
      runTimeoutMs: TIMEOUT_MS,
      statePropsToRemove: ['configuration', 'response'],
      autoinstall: { handleInstall: () => Promise.reject(new Error('nothing is installed here')) },
    });
    const lightning = await new Lightning().start();
    const worker = new Worker({
      home: lab.makeFolder('home'),
      concurrency: 1,
      log: silentLog,
      sandbox: 'off',
      sources: [openfnSource({ url: lightning.url })],
      runners: [openfnRunner({ adaptorFolder: adaptors.folder, installAdaptors: false, memoryMb: MEMORY_MB })],
    });
    const alone: number[] = [];
    const whole: number[] = [];
    let frames = 0;
    try {
      await worker.ready;
      await lightning.until(() => lightning.seen('claim').length > 0);
      for (let round = -WARM_UP; round < ROUNDS; round += 1) {
        const timed = [() => engineAlone(round), () => throughWorker()] as const;
        // Which comes first changes from round to round.
        for (const which of round % 2 === 0 ? [0, 1] : [1, 0]) {
          const ms = await timed[which === 0 ? 0 : 1]();
          if (round >= 0) (which === 0 ? alone : whole).push(ms);
        }
      }
    } finally {
      await worker.close();
      await engine.destroy(true);
      await lightning.stop();
    }
    // On a busy machine single runs differ by more than what is looked for: the quieter ones are compared.
    const [ours, theirs] = [quantile(whole, 0.25), quantile(alone, 0.25)];
    return [
      {
        benchmark: 'OpenFn run, claim to completion',
        figure: `${ours.toFixed(0)} ms`,
        reference: `engine alone: ${theirs.toFixed(0)} ms`,
        ratio: ours / theirs,
        target: { most: 1.05 },
        notes: [
          `${ROUNDS} rounds, lower quartiles; ${frames} requests a run; medians ${median(whole).toFixed(0)} and ${median(alone).toFixed(0)} ms`,
        ],
        values: { ours, theirs },
      },
    ];

    async function engineAlone(round: number): Promise<number> {
      const startedAt = performance.now();
      const steps = [{ id: 'a', expression: BODY, adaptors: [adaptors.common] }];
      const run = { id: `alone-${round}`, steps, input: {}, options: {} };
      const settings = { memoryMb: MEMORY_MB, timeoutMs: TIMEOUT_MS, clock: systemClock };
      const end: RunEnd = await runOnEngine(engine, { run, steps, tell: () => {}, exchange: undefined, ...settings });
      if ('error' in end) throw new Error(end.error.message);
      return performance.now() - startedAt;
    }

    async function throughWorker(): Promise<number> {
      lightning.requests.length = 0;
      const id = lightning.enqueue({ jobs: [{ id: 'a', body: BODY, adaptor: adaptors.common }] });
      const startedAt = performance.now();
      lightning.workAvailable();
      const { reason } = await lightning.completed(id);
      const ms = performance.now() - startedAt;
      if (reason !== 'success') throw new Error(`the run ended as ${reason}`);
      frames = lightning.of(id).length;
      await lightning.until(() => lightning.of(id, 'phx_leave').length > 0);
      return ms;
    }
  },
};
