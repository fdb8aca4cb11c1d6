import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Grid, packageRoot } from '../lab/grid.js';

/** The whole path through the command line, in separate processes, for each sample task. */
for (const sample of ['hello', 'word-count', 'mandelbrot']) {
  t.test(`${sample}: tracker, Master and two Workers bring every job to its one outcome`, async (t) => {
    const grid = new Grid();
    t.teardown(() => grid.close());
    await grid.tracker();
    const input = join(packageRoot, 'assets', 'tasks', `${sample}.ndjson`);
    t.ok(existsSync(input));
    copyFileSync(input, join(grid.folder, 'jobs.ndjson'));
    const task = join(packageRoot, 'assets', 'tasks', sample);
    const { program, token } = await grid.master([
      '--task',
      task,
      '--input',
      'jobs.ndjson',
      '--output',
      'results.ndjson',
      '--ledger',
      'sqlite:ledger.db',
    ]);
    const workers = ['anna', 'berta'].map((name) => grid.worker(token, name));
    const { code } = await program.ended;
    t.equal(code, 0, program.text.slice(-2_000));
    const outcomes = grid.outcomes('results.ndjson');
    t.ok(outcomes.length > 0);
    t.equal(new Set(outcomes.map(({ id }) => id)).size, outcomes.length, 'no outcome twice');
    t.ok(
      outcomes.every(({ state }) => state === 'completed'),
      'all completed',
    );
    for (const worker of workers) {
      worker.signal('SIGTERM');
      t.equal((await worker.ended).code, 0, 'a Worker drains and ends in good order');
    }
  });
}
