/**
 * A program of its own, `node job-trial.js required|off FOLDER`, so that it can run as another user: jobs of the fixture
 * `attacks.cjs` try what is forbidden and use what they need, and the result is printed as JSON (`JobTrial`).
 */
import { cp, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Json, Outcome } from '../../src/job/job.js';
import { TaskModuleRunner } from '../../src/runners/task-module/task-module-runner.js';

export interface JobTrial {
  readonly isolation: string;
  readonly doors: Outcome;
  /** Number of trace files in the task's folder, where the job has gone, and in its own. */
  readonly traces: Outcome;
  readonly databases: Outcome;
  readonly needs: Outcome;
  /** Names found afterwards in a folder that was given to no job. */
  readonly outside: readonly string[];
}

async function main(sandbox: 'required' | 'off', folder: string): Promise<JobTrial> {
  const outside = join(folder, 'outside');
  const task = join(folder, 'task');
  await cp(fileURLToPath(new URL('../../../test/fixtures/task-module', import.meta.url)), task, { recursive: true });
  await cp(join(task, 'hello.cjs'), join(outside, 'secret'));
  const server = createServer((_, response) => response.end('from a server')).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/`;
  await writeFile(join(task, 'task.json'), '{"network":"lan"}');
  const runner = await TaskModuleRunner.start({
    concurrency: 1,
    memoryMb: 256,
    scratchFolder: join(folder, 'scratch'),
    sandbox,
    network: ['internet', `127.0.0.1:${port}`],
  });
  const run = (data: Json) =>
    runner.run(
      { id: 'j', channel: 'default', data, attempt: 1, timeoutMs: 60_000 },
      {
        workplace: { digest: 'd', folder: task, entry: 'attacks.cjs', readable: [] },
        signal: new AbortController().signal,
        report: () => {},
      },
    );
  const doors = await run({ do: 'tries doors', folder: outside });
  const traces = await run({ do: 'traces where it has gone' });
  const databases = await run({ do: 'opens databases', path: join(outside, 'database') });
  const needs = await run({ do: 'needs much of Node', url });
  await runner.close();
  server.close();
  return { isolation: runner.isolation, doors, traces, databases, needs, outside: await readdir(outside) };
}

const [, , sandbox, folder = ''] = process.argv;
console.log(JSON.stringify(await main(sandbox === 'required' ? 'required' : 'off', folder)));
