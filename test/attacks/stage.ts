import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LabDocker, type LabEngine } from '../lab/docker.js';
import { namespaceFolder } from '../lab/docker-remains.js';
import { Grid } from '../lab/grid.js';
import { findTool } from '../lab/require.js';
import { groups, names, others, own, publics, router } from './addresses.js';
import type { Hit, WorldCommand, WorldLine, WorldPlan } from './world.js';

const fixtures = fileURLToPath(new URL('../../../test/fixtures/attacks', import.meta.url));
const worldProgram = fileURLToPath(new URL('./world.js', import.meta.url));

/** What the stage puts in place of the machine's own. */
const namedFiles = ['/etc/hosts', '/etc/resolv.conf'] as const;
const FOLDER_PREFIX = 'peerwork-attacks-';

/** An ordinary user that nothing else on the machine is. */
export const ordinaryUser = 54_321;

/** One process of world.ts, and what it saw. */
export class World {
  readonly #child: ChildProcess;
  readonly #hits: Hit[];
  #answers: ((failed: readonly string[]) => void)[] = [];

  constructor(child: ChildProcess, hits: Hit[]) {
    this.#child = child;
    this.#hits = hits;
    if (child.stdout === null) throw new Error('the world cannot be heard');
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(JSON.parse(line) as WorldLine));
    child.once('exit', () => {
      for (const answer of this.#answers.splice(0)) answer(['it ended']);
    });
  }

  ready(): Promise<readonly string[]> {
    return new Promise((resolve) => this.#answers.push(resolve));
  }

  async do(command: WorldCommand): Promise<void> {
    const done = this.ready();
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    const failed = await done;
    if (failed.length > 0) throw new Error(`the world cannot ${command.do}: ${failed.slice(0, 3).join('; ')}`);
  }

  #hear(line: WorldLine): void {
    if (line.kind === 'ready') this.#answers.shift()?.(line.failed);
    else this.#hits.push(line);
  }
}

/**
 * A machine of our own to attack: a network namespace with addresses of every kind, a cable to another one that holds the LAN, metadata services and the public
 * internet, a name server, and a container engine. Nothing leaves the two. Made for a process that is in a mount namespace of its own, whose
 * /etc/hosts and /etc/resolv.conf are replaced.
 */
export class Stage {
  readonly lab: LabDocker;
  readonly folder: string;
  /** The task that attacks, with the programs that it brings along. */
  readonly task: string;
  readonly hits: Hit[] = [];
  /** A set-uid program of root, of which only an ordinary user gains. */
  readonly setUid: string;
  readonly #lastResort = () => remove(this.folder);
  readonly #children = new Set<ChildProcess>();
  #near: World | undefined;
  #far: World | undefined;

  private constructor(lab: LabDocker) {
    this.lab = lab;
    this.folder = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
    chmodSync(this.folder, 0o755);
    this.task = join(this.folder, 'task');
    this.setUid = join(this.folder, 'set-uid');
  }

  static async open(engine: LabEngine): Promise<Stage> {
    for (const name of readdirSync(tmpdir())) if (isOfDeadProcess(name)) remove(join(tmpdir(), name));
    const lab = await LabDocker.start(engine);
    const stage = new Stage(lab);
    // Whoever ends us in the middle of it finds the machine as it was.
    process.once('exit', stage.#lastResort);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1));
    try {
      stage.#writeTask();
      stage.#nameFiles();
      stage.#lay();
      stage.#near = await stage.#world(stage.lab.namespace, { groups: [] });
      stage.#far = await stage.#world(stage.#farSpace, {
        groups: Object.values(groups),
        names,
        nameServers: [router, others.lan, publics.other],
      });
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  get entry(): string {
    return `--net=${join(namespaceFolder, this.lab.namespace)}`;
  }

  get #farSpace(): string {
    // The lab clears away whatever has its name and a number.
    return `${this.lab.namespace}-m99`;
  }

  /** The words that start a program in the network of the Worker, as this user. */
  inside(uid: number): readonly [string, ...string[]] {
    const user = uid === 0 ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
    return ['nsenter', this.entry, ...user];
  }

  spawn(words: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [program = '', ...args] = words;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], ...options });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Everybody listens at these ports, and asks at those that nobody should listen at. */
  async listen(ports: readonly number[], paths: readonly string[], asked: readonly number[]): Promise<void> {
    await this.#near?.do({ do: 'listen', ports, paths });
    await this.#far?.do({ do: 'listen', ports });
    await this.#dial('dial', asked);
  }

  /** Nobody asks at these any more. */
  rest(asked: readonly number[]): Promise<void> {
    return this.#dial('rest', asked);
  }

  async #dial(what: 'dial' | 'rest', ports: readonly number[]): Promise<void> {
    await this.#near?.do({ do: what, ports, hosts: ['127.0.0.1', own.lan] });
    await this.#far?.do({ do: what, ports, hosts: [own.lan] });
  }

  /** The task that attacks, to be published from there. */
  copyTask(folder: string): void {
    cpSync(this.task, folder, { recursive: true });
  }

  /** A Master and Workers in a folder that is gone with the stage. */
  grid(): Grid {
    const kept = process.env['TMPDIR'];
    process.env['TMPDIR'] = this.folder;
    const grid = new Grid();
    if (kept === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = kept;
    chmodSync(grid.folder, 0o711);
    return grid;
  }

  /** A folder of that user. */
  folderFor(name: string, uid: number): string {
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    chownSync(folder, uid, uid);
    return folder;
  }

  async close(): Promise<void> {
    const ends = [...this.#children].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(ends);
    await this.lab.close();
    for (const target of namedFiles) quietly('umount', [target]);
    process.off('exit', this.#lastResort);
    remove(this.folder);
  }

  async #world(namespace: string, plan: WorldPlan): Promise<World> {
    const words = ['nsenter', `--net=${join(namespaceFolder, namespace)}`, process.execPath, worldProgram, JSON.stringify(plan)];
    const world = new World(this.spawn(words), this.hits);
    await world.ready();
    return world;
  }

  #writeTask(): void {
    cpSync(fixtures, this.task, { recursive: true });
    writeFileSync(join(this.task, 'other-secret.txt'), '');
    const cc = findTool('cc') ?? 'cc';
    const source = join(fixtures, 'calls.c');
    execFileSync(cc, ['-static', '-O1', '-o', join(this.task, 'calls'), source], { stdio: ['ignore', 'ignore', 'inherit'] });
    const addon = join(this.folder, 'addon.c');
    writeFileSync(addon, 'void *napi_register_module_v1(void *env, void *exports) { return exports; }\n');
    execFileSync(cc, ['-shared', '-fPIC', '-o', join(this.task, 'addon.node'), addon], { stdio: ['ignore', 'ignore', 'inherit'] });
    copyFileSync(join(this.task, 'calls'), this.setUid);
    chmodSync(this.setUid, 0o4755);
  }

  /** The process must be in a mount namespace of its own. */
  #nameFiles(): void {
    // The name server answers everything, but on a busy machine it may take its time.
    const texts = ['127.0.0.1 localhost\n::1 localhost\n', `nameserver ${router}\noptions timeout:10 attempts:3\n`];
    for (const [index, target] of namedFiles.entries()) {
      const source = join(this.folder, target.replaceAll('/', '-'));
      writeFileSync(source, texts[index] ?? '');
      execFileSync('mount', ['--bind', source, target]);
    }
  }

  #lay(): void {
    const [near, far] = [this.lab.namespace, this.#farSpace];
    execFileSync('ip', ['netns', 'add', far]);
    execFileSync('ip', ['link', 'add', 'wan', 'netns', near, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far]);
    batch(far, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${router}/24 broadcast + dev eth0`,
      `addr add fd77::1/64 dev eth0 nodad`,
      ...[...Object.values(others), ...Object.values(publics)].map(
        (address) => `addr add ${address}/${lengthOf(address)} dev eth0 ${address.includes(':') ? 'nodad' : ''}`,
      ),
      'route add 224.0.0.0/4 dev eth0',
      `route add ${own.public4}/32 dev eth0`,
    ]);
    batch(near, [
      'link set wan up',
      `addr add ${own.lan}/24 broadcast + dev wan`,
      `addr add ${own.public4}/28 dev wan`,
      `addr add ${own.ula}/64 dev wan nodad`,
      `addr add ${own.public6}/64 dev wan nodad`,
      `route add default via ${router} dev wan src ${own.lan}`,
    ]);
    batch(near, ['route add default via fd77::1 dev wan'], '-6');
  }
}

function lengthOf(address: string): number {
  if (address === others.neighbour6 || address === others.linkLocal6) return 64;
  return address.includes(':') ? 128 : 32;
}

function batch(namespace: string, commands: readonly string[], family = '-4'): void {
  const input = `${commands.join('\n')}\n`;
  execFileSync('ip', [...(family === '-6' ? ['-6'] : []), '-n', namespace, '-batch', '-'], { input, stdio: ['pipe', 'ignore', 'inherit'] });
}

/** Immutable files, chains of folders: whatever an attack has left. */
function remove(folder: string): void {
  quietly('chattr', ['-R', '-f', '-i', folder]);
  quietly('rm', ['-rf', '--', folder]);
}

function isOfDeadProcess(name: string): boolean {
  const pid = name.startsWith(FOLDER_PREFIX) ? Number(name.slice(FOLDER_PREFIX.length).split('-')[0]) : Number.NaN;
  return Number.isSafeInteger(pid) && !existsSync(`/proc/${pid}`);
}

function quietly(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
  } catch {
    // Best effort: the caller goes on.
  }
}
