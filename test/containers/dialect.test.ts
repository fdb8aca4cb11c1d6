import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { commandEnvironment, complaintOf } from '../../src/containers/command-line.js';
import { type ContainerSpec, checkSpec } from '../../src/containers/container-spec.js';
import { type EngineFacts, globalArguments, hostName, limitKinds, rewriteLocalhost } from '../../src/containers/engine-facts.js';
import { exitError, readExit } from '../../src/containers/exit.js';
import { findEngine, missingLimits, readFacts } from '../../src/containers/find-engine.js';
import { runArguments } from '../../src/containers/run-arguments.js';

const docker: EngineFacts = {
  kind: 'docker',
  version: '28.2.2',
  os: 'linux',
  arch: 'x64',
  rootless: false,
  cgroupVersion: 2,
  cpus: 4,
  memoryMb: 4_096,
  limits: limitKinds,
  init: true,
  local: true,
};
const podman: EngineFacts = { ...docker, kind: 'podman', version: '4.3.1', cgroupVersion: 1, init: false };
const spec: ContainerSpec = {
  job: 'a-job',
  image: 'node:20',
  command: ['node', '--version'],
  env: { SECRET: 'not-on-the-command-line' },
  mounts: [
    { source: '/a', target: '/b' },
    { source: '/c', target: '/d', writable: true },
  ],
  memoryMb: 256,
  cpus: 8,
  pids: 4,
  tmpMb: 16,
  maxFileBytes: 1_000,
  labels: { 'dory.run': '1' },
  egress: { runArguments: ['--network=none'], mounts: [], env: {} },
};
const identity = {
  name: 'peerwork-x',
  labels: { 'peerwork.worker': 'w' },
  user: '1000:1000',
  envFile: '/tmp/x.env',
  volumes: ['/data', '/b/'],
};
const argumentsOf = (facts: EngineFacts) => runArguments(facts, spec, identity);

t.test('a container gets the least that the engine can give', async (t) => {
  const args = argumentsOf(docker);
  for (const wanted of [
    ...[
      '--pull=never',
      '--init',
      '--read-only',
      '--cap-drop=ALL',
      '--security-opt=no-new-privileges',
      '--network=none',
      '--log-driver=none',
    ],
    ...['--memory=256m', '--memory-swap=256m', '--cpus=4', '--pids-limit=64', '--user', '1000:1000', 'fsize=1000:1000'],
    ...['type=bind,source=/a,target=/b,readonly', 'type=bind,source=/c,target=/d', 'dory.run=1', 'peerwork.worker=w'],
  ])
    t.ok(args.includes(wanted), wanted);
  t.same(
    args.filter((_arg, index) => args[index - 1] === '--tmpfs').map((arg) => arg.split(':')[0]),
    ['/tmp', '/data'],
    'volumes of the image lie in memory, where nothing else is mounted on them',
  );
  t.same(args.slice(-3), ['node:20', 'node', '--version'], 'nothing after the image is an option');
  t.notMatch(args.join(' '), /not-on-the-command-line|SECRET|privileged=|--privileged/);
});

t.test('podman takes other flags where it differs', async (t) => {
  const args = argumentsOf(podman);
  t.notOk(args.includes('--init'), 'it needs catatonit');
  t.ok(argumentsOf({ ...podman, init: true }).includes('--init'));
  t.ok(
    args.includes('type=tmpfs,destination=/data,tmpfs-size=16m,tmpfs-mode=1777,notmpcopyup,U=true'),
    'the container’s user can write there',
  );
  t.ok(args.includes('type=bind,source=/a,target=/b,ro=true'));
  t.ok(args.includes('nproc=4096:4096'), 'its own default needs CAP_SYS_RESOURCE');
  t.ok(args.includes('--read-only-tmpfs=false'));
  t.notOk(args.includes('--userns=keep-id'));
  t.ok(argumentsOf({ ...podman, rootless: true }).includes('--userns=keep-id'), 'so that files belong to this user');
  t.same(globalArguments(podman), ['--log-level=error', '--cgroup-manager=cgroupfs'], 'its warnings are none of the job’s output');
  t.same(globalArguments({ ...podman, cgroupVersion: 2 }), ['--log-level=error']);
  t.same(globalArguments(docker), []);
  const held = argumentsOf({ ...podman, limits: ['pids'] });
  t.notOk(
    held.some((arg) => /^--(?:memory|cpus)/.test(arg)),
    'it would not start a container that it cannot hold',
  );
  t.ok(held.includes('--pids-limit=64'));
  t.equal(hostName(docker), 'host.docker.internal');
  t.equal(hostName(podman), 'host.containers.internal', 'podman before 4.7 knows no host-gateway');
});

t.test('how a container ended', async (t) => {
  const error = (state: object, byUs = false) => exitError(readExit(state, byUs), 64)?.code;
  t.equal(error({ ExitCode: 0 }), undefined);
  t.equal(error({ ExitCode: 137, OOMKilled: true }), 'memory');
  t.equal(error({ ExitCode: 1, OOMKilled: true }), 'memory', 'a child was killed, and the first process gave up');
  t.equal(error({ ExitCode: 137, OOMKilled: false }), 'container-failed');
  t.equal(error({ ExitCode: 137, OOMKilled: false }, true), 'container-failed');
  t.equal(error({ ExitCode: 137, OOMKilled: true }, true), 'container-failed', 'we have killed it');
  t.equal(error({ Status: 'created', ExitCode: 127, Error: 'exec: "x": executable file not found in $PATH' }), 'container-failed');
  t.equal(
    exitError(readExit({ Status: 'created', ExitCode: 0, Error: '' }, false, { said: 'executable file not found in $PATH' }), 64)?.code,
    'container-failed',
    'podman tells only its caller why',
  );
  const heapFull = (ExitCode: number, byUs = false) => exitError(readExit({ ExitCode }, byUs, { heapFull: true }), 64);
  t.match(heapFull(134), { code: 'memory', detail: '64 MiB' }, 'the heap of a Node in it was full');
  t.equal(heapFull(139)?.code, 'memory');
  t.equal(heapFull(0), undefined);
  t.equal(heapFull(137, true)?.code, 'container-failed');
  t.equal(error({ Status: 'created', ExitCode: 128, Error: 'no space left on device' }), 'engine-failed');
});

t.test('what an engine says of itself', async (t) => {
  const info = {
    ServerVersion: '28.2.2',
    OSType: 'linux',
    Architecture: 'aarch64',
    NCPU: 4,
    CgroupVersion: '2',
    OperatingSystem: 'Debian',
  };
  const facts = (more: object = {}, environment = {}) => readFacts('docker', JSON.stringify({ ...info, ...more }), environment);
  t.match(facts(), { kind: 'docker', arch: 'arm64', cpus: 4, rootless: false, cgroupVersion: 2, local: true });
  t.match(facts({ SecurityOptions: ['name=seccomp,profile=builtin', 'name=rootless'] }), { rootless: true });
  for (const [more, environment] of [
    [{ OperatingSystem: 'Docker Desktop' }, {}],
    [{ ClientInfo: { Context: 'far-away' } }, {}],
    [{}, { DOCKER_HOST: 'tcp://10.0.0.1:2375' }],
    [{}, { DOCKER_HOST: 'ssh://nas' }],
  ] as const)
    t.match(facts(more, environment), { local: false });
  t.equal(facts({ ServerVersion: '' }), undefined, 'no server');
  t.same(facts()?.limits, limitKinds);
  const onPi = facts({ MemoryLimit: false, CpuCfsQuota: true, PidsLimit: true });
  t.same(onPi?.limits, ['cpu', 'pids'], 'its kernel has memory switched off');
  t.equal(missingLimits({ limits: ['pids'] }), 'memory, cores');
  t.equal(readFacts('docker', '', {}), undefined);
  const host = { os: 'linux', arch: 'amd64', cpus: 2, cgroupVersion: 'v1', security: { rootless: true }, serviceIsRemote: false };
  t.match(readFacts('podman', JSON.stringify({ host, version: { Version: '4.3.1' } }), {}), {
    kind: 'podman',
    arch: 'x64',
    rootless: true,
    cgroupVersion: 1,
    limits: limitKinds,
  });
  const undelegated = { ...host, cgroupVersion: 'v2', cgroupControllers: ['memory', 'pids'] };
  t.same(readFacts('podman', JSON.stringify({ host: undelegated }), {})?.limits, ['memory', 'pids']);
  t.match(readFacts('docker', JSON.stringify({ host }), {}), { kind: 'podman' }, 'podman under the name of docker');
});

t.test('without an engine the error says what was tried', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-no-engine-'));
  t.teardown(() => rm(folder, { recursive: true }));
  await t.rejects(findEngine('auto', { PATH: folder }), {
    code: 'engine-missing',
    message: /docker is not installed; podman is not installed/,
  });
  await writeFile(join(folder, 'docker'), '#!/bin/sh\necho "Cannot connect to the Docker daemon" >&2; exit 1\n', { mode: 0o755 });
  await t.rejects(findEngine('docker', { PATH: folder }), { code: 'engine-missing', message: /docker: Cannot connect/ });
  const podmanInfo = JSON.stringify({ host: { cpus: 2 }, version: { Version: '4' } });
  await writeFile(join(folder, 'podman'), `#!/bin/sh\necho '${podmanInfo}'\n`, { mode: 0o755 });
  t.match(await findEngine('auto', { PATH: folder }), { facts: { kind: 'podman' } }, 'docker does not answer, podman does');
});

t.test('the engine’s command line sees nothing of the worker’s secrets', async (t) => {
  const environment = {
    PATH: '/bin',
    HOME: '/root',
    DOCKER_HOST: 'unix:///x',
    CONTAINERS_CONF: '/y',
    token: 'pw1.x',
    PEERWORK_TOKEN: 'x',
    LD_PRELOAD: '/x',
    AWS_SECRET: 'x',
  };
  t.same(Object.keys(commandEnvironment(environment)).sort(), ['CONTAINERS_CONF', 'DOCKER_HOST', 'HOME', 'PATH']);
  t.equal(
    complaintOf('time="2026-12-01T13:59:04Z" level=error msg="finding config: no such file"\nError: x'),
    'finding config: no such file; x',
  );
  t.equal(complaintOf("docker: Error response from daemon: No such container: x.\nSee 'docker run --help'.\n"), 'No such container: x.');
});

t.test('a spec that would reach further than meant is refused', async (t) => {
  const refuse = (more: Partial<ContainerSpec>) =>
    t.throws(() => checkSpec({ ...spec, ...more }), { code: 'container-invalid' }, JSON.stringify(more));
  checkSpec(spec);
  refuse({ image: '-v/:/x' });
  refuse({ env: { 'A B': '1' } });
  refuse({ env: { A: '1\nB=2' } });
  refuse({ env: { A: 'x'.repeat(70_000) } });
  refuse({ labels: { 'peerwork.worker': 'another' } });
  refuse({ mounts: [{ source: '/var/run/docker.sock', target: '/x' }] });
  refuse({ mounts: [{ source: '/a,readonly=false', target: '/x' }] });
  refuse({ mounts: [{ source: '/a', target: '/x/../../etc' }] });
  refuse({ workdir: 'x' });
  refuse({ memoryMb: 1 });
});

t.test('addresses of this machine’s loopback are rewritten for containers, all others stay letter for letter', async (t) => {
  const host = 'host.docker.internal';
  for (const [url, expected] of [
    ['http://localhost:3000/api?x=1', 'http://host.docker.internal:3000/api?x=1'],
    ['redis://user:p%40ss@127.0.0.1:6379/0', 'redis://user:p%40ss@host.docker.internal:6379/0'],
    ['redis://:p@ss@localhost:6379', 'redis://:p@ss@host.docker.internal:6379'],
    ['http://[::1]:80', 'http://host.docker.internal:80'],
    ['http://0.0.0.0', 'http://host.docker.internal'],
    ['http://127.0.0.2/', 'http://host.docker.internal/'],
    ['http://example.com/localhost', 'http://example.com/localhost'],
    ['http://localhost.example.com', 'http://localhost.example.com'],
    ['http://192.168.1.5:80', 'http://192.168.1.5:80'],
    ['not a url', 'not a url'],
  ] as const)
    t.equal(rewriteLocalhost(url, host), expected, url);
});
