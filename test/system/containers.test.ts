import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { Grid } from '../lab/grid.js';
import { until } from '../lab/until.js';

const lab = await insideDockerLab(t, import.meta.url);

if (lab !== undefined) {
  const image = await lab.tinyImage();

  /** Writes the task folder of a Master, and its jobs. */
  const prepare = (grid: Grid) => {
    const folder = join(grid.folder, 'task');
    mkdirSync(folder);
    const script =
      'echo "counting $1" >&2; wc -w < /peerwork/task/words.txt > /peerwork/out/count.txt; cat $PEERWORK_INPUT > /peerwork/out/result.json; exit $2';
    const task = {
      runner: 'container',
      image,
      command: ['sh', '-c', script, 'sh'],
      files: [{ pattern: 'count.txt' }],
      limits: { memoryMb: 64 },
    };
    writeFileSync(join(folder, 'task.json'), JSON.stringify(task));
    writeFileSync(join(folder, 'words.txt'), 'one two three');
    const jobs = [
      { id: 'good', data: { args: ['words', '0'], input: { any: 'thing' } } },
      { id: 'bad', data: { args: ['words', '7'] }, attempts: 1 },
    ];
    writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => `${JSON.stringify(job)}\n`).join(''));
    return ['--task', folder, '--input', 'jobs.ndjson', '--output', 'results.ndjson'];
  };

  t.test('a Master has its jobs done in containers by a Worker, through the command line', async (t) => {
    const grid = new Grid();
    t.teardown(() => grid.close());
    await grid.tracker();
    const { program, token } = await grid.master(prepare(grid));
    const worker = grid.worker(token, 'anna', ['--containers', 'docker', '--pull', 'never', '--image', 'peerwork-test/*'], {
      env: lab.environment,
    });
    t.equal((await program.ended).code, 1, 'one job failed, as it should');
    const outcomes = new Map(grid.outcomes('results.ndjson').map((outcome) => [outcome.id, outcome]));
    t.match(outcomes.get('good'), {
      state: 'completed',
      output: { exitCode: 0, result: { any: 'thing' }, files: [{ path: 'count.txt', base64: Buffer.from('3\n').toString('base64') }] },
    });
    t.match(outcomes.get('bad'), {
      state: 'failed',
      error: { code: 'container-failed', exitCode: 7, message: /exit code 7: counting words/ },
    });
    await worker.stop();
    t.equal(await lab.docker('ps', '-aq'), '', 'no container is left');
  });

  t.test('a Worker without an engine leaves such jobs to others and says why, once', async (t) => {
    const grid = new Grid();
    t.teardown(() => grid.close());
    await grid.tracker();
    const { program, token } = await grid.master(prepare(grid));
    // Hides docker and podman, in case they are installed.
    const env = { DOCKER_HOST: `unix://${lab.folder}/nobody.sock`, CONTAINERS_CONF: `${lab.folder}/none.conf` };
    const without = grid.worker(token, 'anna', [], { env });
    await without.line(/jobs for container and crawl are left to others/);
    await until(() => /worker connected|joined|connected/i.test(without.text));
    grid.worker(token, 'berta', ['--pull', 'never'], { env: lab.environment });
    t.equal((await program.ended).code, 1, 'one job failed, as it should');
    t.ok(
      grid.outcomes('results.ndjson').every(({ worker }) => worker === 'berta'),
      'all were done by the one that can',
    );
    t.equal(without.lines.filter((line) => line.includes('engine-missing')).length, 1);
    const demanded = grid.worker(token, 'carla', ['--containers', 'docker'], { env });
    t.not((await demanded.ended).code, 0, 'an engine that is demanded must be there');
    t.match(demanded.text, /No usable container engine: docker: /);
  });
}
