import { readdir, readFile } from 'node:fs/promises';
import t from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { openEngine, runIn } from './stage.js';

const lab = await insideDockerLab(t, import.meta.url);

if (lab !== undefined) {
  const image = await lab.tinyImage();

  t.test('a container runs with the least that the engine can give', async (t) => {
    const engine = await openEngine(t);
    t.match(engine.facts, { kind: lab.engine, init: true, local: true, rootless: false });
    t.match(engine.isolation, /^(?:docker|podman) \S+: no capabilities, read-only root, limits, 512 MiB a job at most$/);
    const status = 'while read l; do case $l in CapEff*|NoNewPrivs*|Seccomp:*) echo $l;; esac; done < /proc/self/status';
    const script = `id -u; ${status}; touch /x; echo $A >&2; touch /tmp/y && exit 3`;
    const { lines, stdout, exit } = await runIn(engine, image, ['sh', '-c', script], { env: { A: 'b c' } });
    t.equal(stdout, '1000\nCapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n');
    t.ok(lines.includes('stderr: b c'), 'its variables reach it');
    t.match(lines.join(), /Read-only file system/, 'its root cannot be written');
    t.same(exit, { exitCode: 3, outOfMemory: false });
  });

  t.test('more than the owner allows is refused, and cores are held to those that there are', async (t) => {
    const engine = await openEngine(t);
    await t.rejects(runIn(engine, image, ['sh'], { memoryMb: 513 }), { code: 'container-limits' });
    t.equal((await runIn(engine, image, ['sh', '-c', 'exit 0'], { cpus: 1_000 })).exit.exitCode, 0);
  });

  t.test('a command that cannot be started is told from one that fails', async (t) => {
    const engine = await openEngine(t);
    t.equal((await runIn(engine, image, ['no-such-program'])).exit.exitCode, lab.engine === 'docker' ? 127 : 1, 'as their init has it');
    await t.rejects(runIn(engine, 'peerwork-test/none', ['sh']), { code: 'image-missing' });
  });

  t.test('the engine’s command line may die: the container is seen to its end all the same', async (t) => {
    const engine = await openEngine(t);
    const egress = await engine.openEgress({ job: 'a-job', imageLabels: {}, network: 'none' });
    const wait = 'echo started; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 9';
    const limits = { memoryMb: 64, cpus: 1, pids: 64, tmpMb: 8 };
    let started = () => {};
    const running = new Promise<void>((resolve) => {
      started = resolve;
    });
    const container = await engine.start({ job: 'a-job', image, command: ['sh', '-c', wait], egress, ...limits }, () => started());
    await running;
    for (const pid of await commandsOf(container.name)) process.kill(pid, 'SIGKILL');
    // The container may be ending and kill this command before it has finished.
    await lab.docker('exec', container.name, 'touch', '/tmp/go').catch((error: { exitCode?: number }) => t.equal(error.exitCode, 137));
    t.same(await container.ended, { exitCode: 9, outOfMemory: false });
  });
}

/** Returns processes of the command line that belong to the container. */
async function commandsOf(name: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  const isOurs = (line = '') => /^\/\S*\/(?:docker|podman)$/.test(line.split('\0')[0] ?? '') && line.includes(`run\0--name\0${name}`);
  return pids.filter((_pid, index) => isOurs(lines[index])).map(Number);
}
