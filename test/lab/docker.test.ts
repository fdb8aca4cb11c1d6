import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import t from 'tap';
import { dockerTools, insideDockerLab, LabDocker } from './docker.js';
import { requireTools } from './require.js';

const lab = await insideDockerLab(t, import.meta.url);

if (lab !== undefined) {
  t.test('the lab runs containers of images made here, and they see its network only', async (t) => {
    const image = await lab.tinyImage();
    t.equal(await lab.docker('run', '--rm', image, 'sh', '-c', 'id -u; echo hello'), '0\nhello');
    const node = await lab.nodeImage();
    t.equal(await lab.docker('run', '--rm', '--network', 'none', node, 'node', '-p', '6 * 7'), '42');
    t.match(await lab.run('ip', ['-o', 'addr', 'show', 'docker0']), /docker0/, 'the bridge is in the namespace');
    t.ok(existsSync('/sys/class/net/lo'), 'and this process is there too');
  });
} else if (requireTools({ plan: () => {}, fail: () => {} }, dockerTools, { root: true })) {
  t.test('labs run side by side and leave nothing behind', async (t) => {
    const labs = await Promise.all([LabDocker.start(), LabDocker.start()]);
    for (const each of labs) await each.docker('run', '-d', await each.tinyImage(), 'sleep', '1000');
    for (const each of labs) t.equal((await each.docker('ps', '-q')).split('\n').length, 1);
    await Promise.all(labs.map((each) => each.close()));
    for (const each of labs) {
      t.notOk(existsSync(each.folder));
      t.notOk(existsSync(`/run/netns/${each.namespace}`));
      t.notOk(existsSync(`/sys/fs/cgroup/memory/${each.namespace}`));
    }
  });

  t.test('what a killed process has left behind is cleared away by the next lab', async (t) => {
    const program = `
      const { LabDocker } = await import(${JSON.stringify(new URL('./docker.js', import.meta.url).href)});
      const lab = await LabDocker.start();
      await lab.docker('run', '-d', await lab.tinyImage(), 'sleep', '1000');
      console.log(lab.namespace);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(child.stdout, 'data');
    const namespace = String(line).trim();
    child.kill('SIGKILL');
    await once(child, 'exit');
    t.ok(existsSync(`/run/netns/${namespace}`), 'it was there');
    await (await LabDocker.start()).close();
    t.notOk(existsSync(`/run/netns/${namespace}`));
    t.notOk(existsSync(`/tmp/${namespace}`));
  });
}
