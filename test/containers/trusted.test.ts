import t from 'tap';
import { isTrustedImage } from '../../src/containers/image-names.js';
import { insideDockerLab } from '../lab/docker.js';
import { podmanTools } from '../lab/podman.js';
import { ContainerStage, summary } from '../runners/container-stage.js';
import { labCeilings, openEngine, runIn } from './stage.js';

const ID = `sha256:${'a'.repeat(64)}`;
const DIGEST = `sha256:${'d'.repeat(64)}`;

t.test('an image is trusted by its name, its digest or its id, and by nothing that only looks like them', async (t) => {
  const known = { id: ID, digests: [`docker.io/acme/crawler@${DIGEST}`] };
  const trusts = (image: string, ...patterns: string[]) => isTrustedImage(image, known, patterns);
  t.notOk(isTrustedImage('acme/crawler', known), 'nothing is trusted unless the owner says so');
  t.ok(trusts('acme/crawler:2', 'acme/crawler'));
  t.ok(trusts('acme/crawler:2', 'acme/*'));
  t.notOk(trusts('acme/crawler:2', 'acme/crawler:1'));
  t.notOk(trusts('ghcr.io/acme/crawler', 'acme/crawler'), 'of another registry');
  t.notOk(trusts('acme/crawler-of-somebody', 'acme/crawler'));
  t.ok(trusts('acme/crawler:2', `acme/crawler@${DIGEST}`), 'whatever tag it has');
  t.notOk(trusts('acme/crawler:2', `acme/crawler@${DIGEST.replaceAll('d', 'e')}`));
  t.ok(trusts('acme/crawler:2', ID));
  t.ok(trusts(ID, ID));
  t.ok(isTrustedImage('x', { id: ID.slice(7), digests: [] }, [ID]), 'as podman writes it');
  t.notOk(trusts(ID, 'sha256'), 'an id is no name');
  t.notOk(trusts(ID, `sha256:${'b'.repeat(64)}`));
});

const lab = await insideDockerLab(t, import.meta.url, podmanTools);

/** What a process may do, from the kernel's report and by trying. */
const probes = [
  'id -u',
  'while read -r name value; do case $name in Cap[EPB]*|NoNewPrivs:|Seccomp:) echo $name $value;; esac; done < /proc/self/status',
  'for place in / /etc /tmp /app; do ( : > $place/probe ) && echo "writes $place"; done',
  'echo "#!/bin/sh" > /tmp/run && echo "echo runs from /tmp" >> /tmp/run && chmod 755 /tmp/run && /tmp/run',
  'df -k /dev/shm | tail -n 1',
  'mount -t tmpfs none /work && echo MOUNTED',
  'mknod /tmp/disk b 8 0 && echo DEVICE',
  // Podman's own filter allows it; it gives access to nothing outside the container.
  ...(lab?.engine === 'podman' ? [] : ['unshare -Ur id -u && echo NAMESPACE']),
  'echo 1 > /proc/sys/kernel/panic && echo SYSCTL',
  'chmod 4755 /bin/id; /bin/id -u',
].join('; ');

if (lab !== undefined) {
  const base = await lab.image('peerwork-test/trusted:1', {
    ...{ sh: true, programs: ['mount', 'unshare', 'mknod'], homeOfUser: 'app', setuid: 'id' },
    changes: ['VOLUME /data'],
  });
  const asRoot = await lab.build('peerwork-test/trusted:root', [`FROM ${base}`, 'USER 0']);
  const asUser = await lab.build('peerwork-test/trusted:user', [`FROM ${base}`, 'USER 1000:1000']);
  const trustedImages = ['peerwork-test/trusted'];
  const sh = (script: string) => ['sh', '-c', script];

  t.test('a trusted image of root writes where it likes, and can do nothing outside of itself', async (t) => {
    const engine = await openEngine(t, { trustedImages });
    const { stdout, lines } = await runIn(engine, asRoot, sh(probes), { memoryMb: 256 });
    const printed = stdout.split('\n');
    t.equal(printed[0], '0', lines.join('\n'));
    for (const place of ['/', '/etc', '/tmp', '/app']) t.ok(printed.includes(`writes ${place}`), place);
    t.ok(printed.includes('runs from /tmp'));
    t.match(stdout, /\s262144\s/, 'shared memory up to its memory');
    // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID; no raw sockets, devices, mounts, chroot, audit or file capabilities.
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) t.match(stdout, `${set}: 00000000000000eb`);
    t.match(stdout, 'NoNewPrivs: 1');
    t.match(stdout, 'Seccomp: 2');
    t.notMatch(stdout, /MOUNTED|DEVICE|NAMESPACE|SYSCTL/);
  });

  t.test('a trusted image of an ordinary user has no capability, and wins none', async (t) => {
    const engine = await openEngine(t, { trustedImages });
    const { stdout } = await runIn(engine, asUser, sh(probes), { memoryMb: 256 });
    const printed = stdout.split('\n').filter(Boolean);
    t.equal(printed[0], '1000');
    t.ok(printed.includes('writes /app'), 'which is its own');
    t.ok(printed.includes('writes /tmp'));
    t.notOk(printed.includes('writes /etc'));
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) t.match(stdout, `${set}: 0000000000000000`);
    t.equal(printed.at(-1), '1000', 'a program that runs as root elsewhere does not here');
    t.notMatch(stdout, /MOUNTED|DEVICE|NAMESPACE|SYSCTL/);
  });

  t.test('without a bound of its owner a container may have three quarters of the memory, and has what jobs have', async (t) => {
    const engine = await openEngine(t, { ceilings: { ...labCeilings, memoryMb: undefined } });
    t.equal(engine.ceilings.memoryMb, Math.floor(engine.facts.memoryMb * 0.75));
    t.equal(engine.ceilings.defaultMemoryMb, 512);
    const more = runIn(engine, asRoot, sh('id -u'), { memoryMb: engine.ceilings.memoryMb + 1 });
    await t.rejects(more, { code: 'container-limits' });
  });

  t.test('an image that is not trusted has none of it', async (t) => {
    const engine = await openEngine(t, { trustedImages: ['peerwork-test/another'] });
    const { stdout } = await runIn(engine, asRoot, sh(probes));
    t.match(stdout, /^1000\n/);
    t.match(stdout, 'CapBnd: 0000000000000000');
    t.notMatch(stdout, /writes \/(?:\n|etc|app)/);
  });

  t.test('what a trusted image writes in its layer and its volumes is held to the limit of the disk', async (t) => {
    const stage = await ContainerStage.set(t, { trustedImages, diskMb: 24 });
    const fill = (folder: string) =>
      sh(
        `i=0; while [ $i -lt 64 ]; do i=$((i+1)); dd if=/dev/zero of=${folder}/$i bs=1048576 count=1 2>/dev/null; sleep 0.05; done; sleep 60`,
      );
    for (const folder of ['/etc', '/tmp', '/data', '/peerwork/out'])
      t.match(summary(await stage.run({ image: asRoot, command: fill(folder) })), { code: 'scratch-too-large' }, folder);
    const both =
      'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do for f in /app /peerwork/out; do dd if=/dev/zero of=$f/$n bs=1048576 count=1; done; done; sleep 60';
    t.match(summary(await stage.run({ image: asRoot, command: sh(both) })), { code: 'scratch-too-large' }, 'together, too');
    const some = 'dd if=/dev/zero of=/app/x bs=1048576 count=8 && sleep 1 && rm /app/x && echo done';
    t.match(summary(await stage.run({ image: asRoot, command: sh(some) })), { exitCode: 0, stdout: 'done\n' });
    const single = 'dd if=/dev/zero of=/app/x bs=1048576 count=100; echo ended; exit 4';
    t.match(summary(await stage.run({ image: asRoot, command: sh(single) })), { code: /container-failed|scratch-too-large/ });
    await stage.runner.close();
    t.equal(await lab.docker('ps', '-aq'), '', 'no container is left');
    t.equal(await lab.docker('volume', 'ls', '-q'), '', 'and no volume');
  });

  t.test('where its layer cannot be read the engine is asked how large it is', async (t) => {
    const { WritableLayer } = await import('../../src/containers/writable-layer.js');
    const { findEngine } = await import('../../src/containers/find-engine.js');
    const { systemClock } = await import('../../src/clock.js');
    const { facts, command } = await findEngine('auto', process.env);
    const engine = await openEngine(t, { trustedImages, ceilings: labCeilings });
    const egress = await engine.openEgress({ job: 'a-job', imageLabels: {}, network: 'none' });
    const script = 'dd if=/dev/zero of=/app/x bs=1048576 count=8 2>/dev/null; echo written; sleep 60';
    let written = () => {};
    const there = new Promise<void>((resolve) => {
      written = resolve;
    });
    const spec = { job: 'a-job', image: asRoot, command: sh(script), memoryMb: 128, cpus: 1, pids: 64, tmpMb: 16, egress };
    const container = await engine.start(spec, (_stream, line) => line === 'written' && written());
    await there;
    const remote = new WritableLayer({ facts: { ...facts, local: false }, command, clock: systemClock }, container.name);
    const queried = await remote.bytes(1);
    t.ok(queried >= 8 * 1024 * 1024 && queried < 9 * 1024 * 1024, `${queried}`);
    const seen = await container.written(64 * 1024 * 1024);
    t.ok(seen >= 8 * 1024 * 1024 && seen < 9 * 1024 * 1024, `${seen}`);
    await container.remove();
    await egress.close();
  });
}
