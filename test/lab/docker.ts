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

/** Debian packages that the lab needs, for `requireTools`; it also needs root. */
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
 * A docker engine of our own (or podman, which answers to the name docker there) in a network namespace of its own: its bridges,
 * its containers and whatever `run` and `spawn` start there see only each other, and this machine's network sees none of it. Any
 * number of labs may run side by side, and next to an engine of this machine. The engine's socket is usable from everywhere.
 *
 * Names begin with the pid; the next lab removes what a killed process has left behind.
 */
export class LabDocker {
  /** Folder for files of the test: a short path, removed with the lab. */
  readonly folder: string;
  /** Name of the network namespace. */
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
      // An address besides loopback: without one WebRTC finds no path, even to the same machine.
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

  /** Returns the lab that this very process runs in, see `insideDockerLab`. */
  static ofThisProcess(): LabDocker | undefined {
    const [engine, namespace] = process.env[insideVariable]?.split(' ') ?? [];
    return namespace === undefined ? undefined : new LabDocker(engine as LabEngine, namespace, false);
  }

  /** Address in the form of DOCKER_HOST. */
  get host(): string {
    return `unix://${this.socket}`;
  }

  get socket(): string {
    return join(this.folder, 'docker.sock');
  }

  /** Environment that makes a docker command line use this engine, without any settings of this machine's user. */
  get environment(): Readonly<Record<string, string>> {
    return this.engine === 'podman'
      ? podmanEnvironment(this.folder)
      : { DOCKER_HOST: this.host, DOCKER_CONFIG: join(this.folder, 'config') };
  }

  /** Runs a docker command and returns its output. */
  async docker(...args: string[]): Promise<string> {
    const { stdout } = await execa('docker', args, { env: this.environment });
    return stdout;
  }

  /** Runs a program inside the namespace to completion and returns its output. */
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
   * Adds another machine with its own address, such as `192.168.77.5` in the owner's LAN or `9.9.9.9` on a simulated internet. Its
   * TCP ports respond to HTTP with `hello from <address>`. Reachable from the namespace, and through it from containers.
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

  /** Builds an image of a shell and the usual small programs, 7 MB. Changes are Dockerfile lines, such as `VOLUME /data`. */
  tinyImage(name = 'peerwork-test/tiny:1', changes: readonly string[] = []): Promise<string> {
    return this.#image(name, { sh: true, changes });
  }

  /** Builds an image of this machine's Node, with a shell. Runs as root by default. Labels are `name=value`. */
  nodeImage(name = 'peerwork-test/node:1', labels: readonly string[] = []): Promise<string> {
    return this.#image(name, { sh: true, node: true, changes: labels.map((label) => `LABEL ${label}`) });
  }

  /** Builds an image with the given contents, once. */
  image(name: string, contents: ImageContents): Promise<string> {
    return this.#image(name, contents);
  }

  /** Derives an image from another by Dockerfile lines that run nothing. Returns its name. */
  async build(name: string, lines: readonly string[]): Promise<string> {
    const folder = mkdtempSync(join(this.folder, 'build-'));
    writeFileSync(join(folder, 'Dockerfile'), lines.join('\n'));
    await this.docker('build', '--tag', name, folder);
    return name;
  }

  /** Allows pulls from a registry on loopback, `host:port`, without TLS; docker always does. */
  trustRegistry(location: string): void {
    if (this.engine === 'podman') trustRegistry(this.folder, location);
  }

  async close(): Promise<void> {
    if (!this.#owned) return;
    const ends = [...this.#processes].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of this.#processes) child.kill('SIGKILL');
    await Promise.all(ends);
    // An orderly removal first: the engine then unmounts and unlinks what is outside our folder.
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
      // In a cgroup of its own, so that every process of every container can be found at the end.
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
 * Runs a whole test file inside a lab: the file runs again as a process in the lab's namespace, where it receives the lab; the
 * outer run receives undefined and has nothing more to do. Loopback in there is the lab's own, shared by servers of the test, the
 * code under test and containers with `--network host`.
 *
 *     const lab = await insideDockerLab(t, import.meta.url);
 *     if (lab !== undefined) { t.test(…) }
 *
 * With several engines the file runs once with each. test/containers/podman.long.test.ts runs the files that are for both with
 * podman.
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

/** dockerd searches the PATH for containerd, runc and iptables. */
function systemPath(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const env = { ...process.env, ...more };
  return { ...env, PATH: `${env['PATH'] ?? ''}:/usr/sbin:/sbin` };
}
