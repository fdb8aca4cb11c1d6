import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { type ImageContents, importImage } from './docker-image.js';
import { namePrefix, namespaceFolder, removeLab, removeOrphans } from './docker-remains.js';
import { podmanEnvironment, podmanTools, setUpPodman, trustRegistry } from './podman.js';
import { requireTools } from './require.js';

/** The Debian packages that the lab needs, for `requireTools`; it needs root too. */
export const dockerTools = {
  dockerd: 'docker.io',
  docker: 'docker.io',
  ip: 'iproute2',
  nsenter: 'util-linux',
  tar: 'tar',
  ldd: 'libc-bin',
};

const START_LIMIT_MS = 240_000;
const FILE_LIMIT_MS = 1_500_000;
const insideVariable = 'PEERWORK_DOCKER_LAB';

export type LabEngine = 'docker' | 'podman';

/**
 * A docker engine of our own (or podman, which answers to the name of docker there), in a network namespace made for it: its bridges, the containers and whatever `run` and `spawn` start
 * there see each other and nothing else, and this machine's own network sees none of it. Any number of them may run side by side, and
 * beside an engine of this machine. The engine's socket can be used from everywhere.
 *
 * Names begin with the process's id; what a process that was killed has left behind is cleared away by the next lab.
 */
export class LabDocker {
  /** For files of the test: short, and gone with the lab. */
  readonly folder: string;
  /** The name of the network namespace. */
  readonly namespace: string;
  readonly engine: LabEngine;
  readonly #owned: boolean;
  readonly #processes = new Set<ChildProcess>();
  #machines = 0;
  readonly #images = new Map<string, Promise<string>>();
  readonly #lastResort = () => removeLab(this.namespace);
  #daemon: ChildProcess | undefined;

  private constructor(engine: LabEngine, namespace: string, owned: boolean) {
    this.engine = engine;
    this.namespace = namespace;
    this.folder = join(tmpdir(), namespace);
    this.#owned = owned;
  }

  static async start(engine: LabEngine = 'docker'): Promise<LabDocker> {
    removeOrphans();
    const lab = new LabDocker(engine, basename(mkdtempSync(join(tmpdir(), `${namePrefix}-${process.pid}-`))), true);
    process.once('exit', lab.#lastResort);
    try {
      await execa('ip', ['netns', 'add', lab.namespace]);
      // An address beside loopback: without one WebRTC finds no path, not even to its own machine.
      const cable = ['link add lan type veth peer name lanend', 'link set lan up', 'link set lanend up'];
      const commands = ['link set lo up', ...cable, 'addr add 198.18.0.1/24 dev lan'];
      await execa('ip', ['-n', lab.namespace, '-batch', '-'], { input: `${commands.join('\n')}\n` });
      if (engine === 'docker') await lab.#startDaemon();
      else setUpPodman(lab.folder);
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** The lab that this very process runs in, see `insideDockerLab`. */
  static ofThisProcess(): LabDocker | undefined {
    const [engine, namespace] = process.env[insideVariable]?.split(' ') ?? [];
    return namespace === undefined ? undefined : new LabDocker(engine as LabEngine, namespace, false);
  }

  /** As DOCKER_HOST wants it. */
  get host(): string {
    return `unix://${this.socket}`;
  }

  get socket(): string {
    return join(this.folder, 'docker.sock');
  }

  /** What a docker command line needs in order to use this engine, and no setting of this machine's user. */
  get environment(): Readonly<Record<string, string>> {
    return this.engine === 'podman'
      ? podmanEnvironment(this.folder)
      : { DOCKER_HOST: this.host, DOCKER_CONFIG: join(this.folder, 'config') };
  }

  /** Runs a docker command and gives what it printed. */
  async docker(...args: string[]): Promise<string> {
    const { stdout } = await execa('docker', args, { env: this.environment });
    return stdout;
  }

  /** Runs a program inside the namespace to its end and gives what it printed. */
  async run(command: string, args: readonly string[] = []): Promise<string> {
    const { stdout } = await execa('nsenter', [this.#entry, command, ...args], { env: this.environment });
    return stdout;
  }

  /** Starts a program inside the namespace, with DOCKER_HOST set; it ends with the lab. */
  spawn(command: string, args: readonly string[] = [], options: SpawnOptions = {}): ChildProcess {
    const env = { ...(options.env ?? process.env), ...this.environment };
    const child = spawn('nsenter', [this.#entry, command, ...args], { stdio: ['ignore', 'pipe', 'inherit'], ...options, env });
    this.#processes.add(child);
    child.once('exit', () => this.#processes.delete(child));
    return child;
  }

  /**
   * Another machine with an address of its own, such as `192.168.77.5` in the owner's LAN or `9.9.9.9` on a pretended internet: whoever connects to one of the
   * TCP ports is told `hello from <address>` by HTTP. Reached from the namespace, and through it from containers.
   */
  async addMachine(address: string, ports: readonly number[] = [80]): Promise<void> {
    this.#machines += 1;
    const number = this.#machines;
    const [machine, near] = [`${this.namespace}-m${number}`, `m${number}`];
    await execa('ip', ['netns', 'add', machine]);
    await execa('ip', ['link', 'add', near, 'netns', this.namespace, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', machine]);
    const batch = (namespace: string, commands: readonly string[]) =>
      execa('ip', ['-n', namespace, '-batch', '-'], { input: `${commands.join('\n')}\n` });
    await batch(machine, ['link set lo up', 'link set eth0 up', `addr add ${address}/32 dev eth0`, 'route add default dev eth0']);
    await batch(this.namespace, [
      `link set ${near} up`,
      `addr add 198.19.${number}.1/32 dev ${near}`,
      `route add ${address}/32 dev ${near}`,
    ]);
    const program = `
      const server = () => require('node:http').createServer((_, answer) => answer.end('hello from ${address}'));
      let left = ${ports.length};
      for (const port of ${JSON.stringify(ports)}) server().listen(port, '0.0.0.0', () => --left === 0 && console.log('ready'));`;
    const child = spawn('nsenter', [`--net=${join(namespaceFolder, machine)}`, process.execPath, '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#processes.add(child);
    child.unref();
    await once(child.stdout, 'data');
    // It must not keep the test's process alive.
    child.stdout.destroy();
  }

  /** An image of a shell and the usual small programs, 7 MB. Changes are lines of a Dockerfile, such as `VOLUME /data`. */
  tinyImage(name = 'peerwork-test/tiny:1', changes: readonly string[] = []): Promise<string> {
    return this.#image(name, { sh: true, changes });
  }

  /** An image of this machine's Node, with a shell. Runs as root unless told otherwise. Labels are `name=value`. */
  nodeImage(name = 'peerwork-test/node:1', labels: readonly string[] = []): Promise<string> {
    return this.#image(name, { sh: true, node: true, changes: labels.map((label) => `LABEL ${label}`) });
  }

  /** An image of whatever the test wants in it, made once. */
  image(name: string, contents: ImageContents): Promise<string> {
    return this.#image(name, contents);
  }

  /** An image made of another by lines of a Dockerfile, none of which runs anything. Answers its name. */
  async build(name: string, lines: readonly string[]): Promise<string> {
    const folder = mkdtempSync(join(this.folder, 'build-'));
    writeFileSync(join(folder, 'Dockerfile'), lines.join('\n'));
    await this.docker('build', '--tag', name, folder);
    return name;
  }

  /** Lets images be pulled from a registry on loopback, `host:port`, without TLS; docker always does. */
  trustRegistry(location: string): void {
    if (this.engine === 'podman') trustRegistry(this.folder, location);
  }

  async close(): Promise<void> {
    if (!this.#owned) return;
    const ends = [...this.#processes].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of this.#processes) child.kill('SIGKILL');
    await Promise.all(ends);
    // Politely first: the engine then unmounts and unlinks what lies outside our folder.
    const docker = (...args: string[]) =>
      execa('nsenter', [this.#entry, 'docker', ...args], { env: this.environment, reject: false, timeout: 240_000 });
    const containers = (await docker('ps', '-aq')).stdout.split('\n').filter(Boolean);
    if (containers.length > 0) await docker('rm', '-f', '-v', ...containers);
    const daemon = this.#daemon;
    if (daemon !== undefined && daemon.exitCode === null && daemon.signalCode === null) {
      daemon.ref();
      const gone = once(daemon, 'exit');
      daemon.kill('SIGKILL');
      await gone;
    }
    process.off('exit', this.#lastResort);
    removeLab(this.namespace);
  }

  get #entry(): string {
    return `--net=${join(namespaceFolder, this.namespace)}`;
  }

  #image(name: string, contents: ImageContents): Promise<string> {
    const known = this.#images.get(name) ?? importImage(name, contents, this.environment);
    this.#images.set(name, known);
    return known;
  }

  async #startDaemon(): Promise<void> {
    mkdirSync(join(this.folder, 'config'));
    writeFileSync(join(this.folder, 'daemon.json'), '{}');
    const log = openSync(join(this.folder, 'dockerd.log'), 'a');
    const file = (name: string) => join(this.folder, name);
    const args = [
      ...['--config-file', file('daemon.json'), '--data-root', file('data'), '--exec-root', file('exec'), '--pidfile', file('docker.pid')],
      // A cgroup of its own makes it certain that every process of every container can be found in the end.
      ...['-H', this.host, '--userland-proxy=false', '--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', `/${this.namespace}`],
    ];
    const daemon = spawn('nsenter', [this.#entry, 'dockerd', ...args], {
      stdio: ['ignore', log, log],
      detached: true,
      env: systemPath({}),
    });
    closeSync(log);
    this.#daemon = daemon;
    daemon.unref();
    const startedAt = Date.now();
    while ((await execa('docker', ['version'], { env: this.environment, reject: false })).failed) {
      if (daemon.exitCode !== null || Date.now() - startedAt > START_LIMIT_MS)
        throw new Error(`dockerd does not start: ${readFileSync(file('dockerd.log'), 'utf8').slice(-2_000)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

interface SpawningTest {
  setTimeout(ms: number): void;
  test(name: string, body: (t: SpawningTest) => Promise<void>): Promise<unknown>;
  plan(count: number, reason?: string): void;
  fail(message: string): unknown;
  spawn(command: string, args: string[], options: { readonly env: NodeJS.ProcessEnv }, name: string): Promise<unknown>;
}

/**
 * Lets a whole test file run inside a lab: the file itself is run again as a process in the lab's namespace, where it is given the lab; the outer
 * run is given undefined and has nothing more to do. Loopback in there is the lab's own, so that servers of the test, the code under test and
 * containers with `--network host` share it.
 *
 *     const lab = await insideDockerLab(t, import.meta.url);
 *     if (lab !== undefined) { t.test(…) }
 *
 * With several engines it runs once with each. test/containers/podman.long.test.ts runs files that are for both with podman.
 */
export async function insideDockerLab(
  t: SpawningTest,
  url: string,
  tools: Readonly<Record<string, string>> = {},
  engines: readonly LabEngine[] = ['docker'],
): Promise<LabDocker | undefined> {
  const inside = LabDocker.ofThisProcess();
  if (inside !== undefined) return inside;
  const file = fileURLToPath(url);
  t.setTimeout(FILE_LIMIT_MS);
  for (const engine of engines) {
    await t.test(`${basename(file)} with ${engine}`, async (t) => {
      t.setTimeout(FILE_LIMIT_MS);
      if (!requireTools(t, { ...dockerTools, ...(engine === 'podman' && podmanTools), ...tools }, { root: true })) return;
      const lab = await LabDocker.start(engine);
      const env = { ...systemPath(lab.environment), [insideVariable]: `${engine} ${lab.namespace}` };
      const entry = [`--net=${join(namespaceFolder, lab.namespace)}`, process.execPath, '--enable-source-maps', file];
      await t.spawn('nsenter', entry, { env }, basename(file));
      await lab.close();
    });
  }
  return undefined;
}

/** dockerd looks for containerd, runc and iptables in the PATH. */
function systemPath(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const env = { ...process.env, ...more };
  return { ...env, PATH: `${env['PATH'] ?? ''}:/usr/sbin:/sbin` };
}
