import { existsSync } from 'node:fs';
import { lchown, lstat, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { DEFAULT_SANDBOX } from '../config/defaults.js';
import { PublicInternet } from '../egress/addresses.js';
import { readPair } from '../egress/policy.js';
import { EgressProxy, PRELOAD, PROXY_SOCKET } from '../egress/proxy.js';
import { removeTree } from '../kit/remove-tree.js';
import { findSandbox, findTool, type ProgramAccess, type Sandbox } from '../sandbox/sandbox.js';
import { type NpmSettings, npmrcOf, readNpmSettings, registryPairs } from './npm-settings.js';

export interface NpmRoomOptions {
  /** As for jobs: the wall is used where there is one (`auto`, default), demanded, or never used. */
  readonly sandbox?: 'auto' | 'required' | 'off';
  /** Path of `bwrap`, if it is not where programs are. */
  readonly bubblewrap?: string;
  /** Scopes (`@name`) whose registry and credentials in the owner's npm settings npm may use. Default none. */
  readonly credentials?: readonly string[];
}

export interface NpmRoomNeeds {
  readonly cwd: string;
  readonly npmFolder: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly scripts?: boolean;
  readonly names?: readonly string[];
}

/** npm keeps what it knows of some thousand packages in memory. */
const MEMORY_MB = 2_048;
/** The largest single file, a tarball being unpacked. */
const MAX_FILE_BYTES = 2 * 1024 ** 3;
/** In the folder that npm works in, and gone with its run. */
const SETTINGS = '.npm-settings-';
/** What install scripts get of the system where the owner allows them: a shell, compilers, their headers and libraries. */
const PROGRAMS = ['/usr', '/bin', '/sbin', '/etc/alternatives', '/etc/ld.so.cache'];
/** What a program needs of the environment to find its way about, besides what we set. */
const PASSED = /^(?:lang|lc_all|tz|systemroot|windir|comspec|pathext|appdata|localappdata|programfiles|temp|tmp)$/i;

/**
 * What one run of npm sees. In bubblewrap: Node, npm, the folder to install into, the cache, the settings made for this run, and a network in which the
 * registry is all there is. Where there is no bubblewrap: the same settings, environment and limits.
 */
export class NpmRoom {
  /** Flags. */
  readonly settings: readonly string[];
  /** Of the program that is started; npm's own is in the command where there is a wall. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #sandbox: Sandbox;
  readonly #room: ProgramAccess;
  readonly #folder: string;
  /** Whose the folder was before it was given away. */
  #owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly #proxy: EgressProxy | undefined;
  readonly #refusals: AbortController;

  private constructor(sandbox: Sandbox, room: ProgramAccess, folder: string, proxy: EgressProxy | undefined, refusals: AbortController) {
    this.#sandbox = sandbox;
    this.#room = room;
    this.#folder = folder;
    this.#proxy = proxy;
    this.#refusals = refusals;
    this.environment = sandbox.tier === 'bwrap' ? {} : room.environment;
    // Two different files: npm refuses to read one twice.
    this.settings = [`--userconfig=${join(folder, 'npmrc')}`, `--globalconfig=${join(folder, 'none')}`];
  }

  /** Rejects with `sandbox-missing`. */
  static async open(needs: NpmRoomNeeds, options: NpmRoomOptions): Promise<NpmRoom> {
    const { environment, npmFolder, names } = needs;
    const sandbox = await npmSandbox(options, needs.cwd);
    const allowed = options.credentials ?? [];
    const scopes = names === undefined ? allowed : allowed.filter((scope) => names.some((name) => name.startsWith(`${scope}/`)));
    const settings = await readNpmSettings({ environment, npmFolder, scopes });
    const folder = await mkdtemp(join(needs.cwd, SETTINGS));
    const refusals = new AbortController();
    let proxy: EgressProxy | undefined;
    try {
      await writeSettings(folder, settings, scopes);
      if (sandbox.tier === 'bwrap') proxy = await openProxy(settings, scopes, refusals);
      return new NpmRoom(sandbox, roomFor(needs, settings, folder, proxy), folder, proxy, refusals);
    } catch (error) {
      await proxy?.close();
      await removeTree(folder);
      throw error;
    }
  }

  /** Aborts, with the reason, when npm was not let to where it wanted: it would try again for a minute and then say it in other words. */
  get refused(): AbortSignal {
    return this.#refusals.signal;
  }

  /** Where root gives programs a user of their own, what is in the folder is now that user's. */
  async command(program: readonly string[]): Promise<readonly [string, ...string[]]> {
    const { workdir } = this.#room;
    const before = await lstat(workdir);
    const command = this.#sandbox.command(this.#room, program);
    const now = await lstat(workdir);
    if (now.uid !== before.uid) {
      this.#owner = before;
      await giveTo(now, workdir);
    }
    return command;
  }

  async close(): Promise<void> {
    await this.#proxy?.close();
    await removeTree(this.#folder);
    // What cannot be taken back is noticed by whoever looks through it.
    if (this.#owner !== undefined) await giveTo(this.#owner, this.#room.workdir).catch(() => {});
  }
}

async function giveTo(owner: { readonly uid: number; readonly gid: number }, path: string): Promise<void> {
  await lchown(path, owner.uid, owner.gid);
  const entries = (await lstat(path)).isDirectory() ? await readdir(path) : [];
  for (const name of entries) await giveTo(owner, join(path, name));
}

/** The network is none in it: what npm reaches, it reaches through the proxy. */
async function npmSandbox(
  { sandbox: mode = DEFAULT_SANDBOX, bubblewrap = findTool('bwrap') }: NpmRoomOptions,
  folder: string,
): Promise<Sandbox> {
  const limits = { memoryMb: MEMORY_MB, scratchBytes: MAX_FILE_BYTES, bubblewrap, folder };
  if (mode !== 'off') {
    try {
      return await findSandbox({ ...limits, sandbox: 'required', network: 'deny' });
    } catch (error) {
      if (mode === 'required') throw error;
    }
  }
  return findSandbox({ ...limits, sandbox: 'off', network: 'allow' });
}

function openProxy(settings: NpmSettings, scopes: readonly string[], refusals: AbortController): Promise<EgressProxy> {
  const policy = { mode: 'listed', listed: new Set<string>(), trusted: new Set(registryPairs(settings, scopes).map(readPair)) } as const;
  const onRefused = (target: string) =>
    refusals.abort(`npm wanted to reach ${target}, which is not the registry that this machine is set up for`);
  return EgressProxy.open({ policy, internet: new PublicInternet(), onRefused });
}

async function writeSettings(folder: string, settings: NpmSettings, scopes: readonly string[]): Promise<void> {
  const { ca, extraCa } = settings;
  await writeFile(join(folder, 'npmrc'), npmrcOf(settings, scopes, join(folder, 'ca.pem')), { mode: 0o600 });
  if (ca !== undefined) await writeFile(join(folder, 'ca.pem'), ca, { mode: 0o600 });
  if (extraCa !== undefined) await writeFile(join(folder, 'extra-ca.pem'), extraCa, { mode: 0o600 });
  await writeFile(join(folder, 'empty'), '', { mode: 0o600 });
}

function roomFor(needs: NpmRoomNeeds, settings: NpmSettings, folder: string, proxy: EgressProxy | undefined): ProgramAccess {
  const { cwd, npmFolder, environment, scripts = false } = needs;
  // Debian puts npm's own packages beside it instead of below.
  const npm = existsSync(join(npmFolder, 'node_modules')) ? npmFolder : dirname(npmFolder);
  const passed = Object.entries(environment).filter(([name, value]) => value !== undefined && PASSED.test(name)) as [string, string][];
  const programs = scripts ? PROGRAMS.filter((path) => existsSync(path)) : [];
  const walled = proxy !== undefined;
  const path = walled ? [dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin'].join(delimiter) : (environment['PATH'] ?? '');
  const ownNpmrc = join(npmFolder, 'npmrc');
  return {
    workdir: cwd,
    readable: [...programs, npm],
    placed: [
      ...(existsSync(ownNpmrc) ? [{ source: join(folder, 'empty'), target: ownNpmrc }] : []),
      ...(walled ? [PRELOAD, { source: proxy.socketPath, target: PROXY_SOCKET }] : []),
    ],
    environment: {
      ...Object.fromEntries(passed.filter(([name]) => !walled || !/^te?mp$/i.test(name))),
      PATH: path,
      HOME: cwd,
      ...(process.platform === 'win32' && { USERPROFILE: cwd }),
      ...(settings.extraCa !== undefined && { NODE_EXTRA_CA_CERTS: join(folder, 'extra-ca.pem') }),
      ...(walled && { NODE_OPTIONS: `--require ${PRELOAD.target}`, TMPDIR: '/tmp' }),
    },
  };
}
