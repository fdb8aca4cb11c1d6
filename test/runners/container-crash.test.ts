import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { removeFolder } from '../lab/remove-folder.js';
import { until } from '../lab/until.js';
import { ContainerStage } from './container-stage.js';

const lab = await insideDockerLab(t, import.meta.url, { nft: 'nftables' });

if (lab !== undefined) {
  const image = await lab.tinyImage();

  /** Starts a worker process whose job runs in a container. */
  const startVictim = async (t: Test) => {
    const folder = await mkdtemp(join(tmpdir(), 'peerwork-victim-'));
    await mkdir(join(folder, 'runner'), { mode: 0o700 });
    const program = fileURLToPath(new URL('./container-worker.js', import.meta.url));
    const victim = spawn(process.execPath, [program, join(folder, 'runner'), image], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => {
      victim.kill('SIGKILL');
      return removeFolder(folder);
    });
    await once(victim.stdout, 'data');
    return { folder, victim };
  };
  const containers = () => lab.docker('ps', '-aq', '--filter', 'label=peerwork.job=a-job');
  const killHard = async (victim: ChildProcess) => {
    const exit = once(victim, 'exit');
    victim.kill('SIGKILL');
    await exit;
  };

  t.test('containers end with their worker, even where it is killed with -9', async (t) => {
    const { victim } = await startVictim(t);
    t.not(await containers(), '', 'it runs');
    await killHard(victim);
    await until(async () => (await containers()) === '');
    const all = async () => `${await lab.docker('network', 'ls')} ${await lab.run('nft', ['list', 'tables'])}`;
    await until(async () => !/peerwork/.test(await all()));
    t.pass('the leash has removed it, with its network and its rules');
  });

  t.test('what an earlier life has left is removed at the next start', async (t) => {
    const { folder, victim } = await startVictim(t);
    const worker = await lab.docker('inspect', '--format', '{{index .Config.Labels "peerwork.worker"}}', await containers());
    // The leash first: as if the whole machine had crashed.
    for (const pid of await leashesOf(worker)) process.kill(pid, 'SIGKILL');
    await killHard(victim);
    t.not(await containers(), '', 'it still runs, alone');
    t.match(await lab.docker('network', 'ls'), new RegExp(`peerwork-${worker}`));
    t.ok((await readdir(join(folder, 'runner'))).some((name) => name.startsWith('peerwork-')));
    const stage = await ContainerStage.set(t, {}, folder);
    t.equal(await containers(), '', 'containers');
    t.notMatch(await lab.docker('network', 'ls'), /peerwork/, 'networks');
    t.notMatch(await lab.run('nft', ['list', 'tables']), /peerwork/, 'rules');
    t.notOk(
      (await readdir(join(folder, 'runner'))).some((name) => name.startsWith('peerwork-')),
      'variables',
    );
    t.same(await readdir(join(folder, 'runner', 'jobs')), [], 'files of jobs');
    t.match(await stage.run({ image, command: ['true'] }), { state: 'failed' }, 'and it goes on');
  });

  t.test('another worker of the same machine is left alone', async (t) => {
    const { victim } = await startVictim(t);
    const other = await ContainerStage.set(t);
    t.match(await other.run({ image, command: ['sh', '-c', 'exit 0'] }), { state: 'completed' });
    await other.runner.close();
    t.not(await containers(), '', 'its container still runs');
    await killHard(victim);
    await until(async () => (await containers()) === '');
  });
}

async function leashesOf(worker: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_pid, index) => lines[index]?.includes('peerwork-leash') && lines[index]?.includes(worker)).map(Number);
}
