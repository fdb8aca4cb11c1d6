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
  /** As for jobs: the sandbox is used where available (`auto`, default), required, or never used. */
  readonly sandbox?: 'auto' | 'required' | 'off';
  /** Path of `bwrap`, if it is not on the PATH. */
  readonly bubblewrap?: string;
  /** Scopes (`@name`) whose registry and credentials from the owner's npm settings npm may use. Default none. */
  readonly credentials?: readonly string[];
}

export interface NpmRoomNeeds {
  readonly cwd: string;
  readonly npmFolder: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly scripts?: boolean;
  readonly names?: readonly string[];
}

/** npm keeps the metadata of some thousand packages in memory. */
const MEMORY_MB = 2_048;
/** Limit for a single file, such as a tarball being unpacked. */
const MAX_FILE_BYTES = 2 * 1024 ** 3;
/** Prefix of the settings folder, inside npm's working folder; removed after the run. */
const SETTINGS = '.npm-settings-';
/** System paths for install scripts, where the owner allows them: a shell, compilers, their headers and libraries. */
const PROGRAMS = ['/usr', '/bin', '/sbin', '/etc/alternatives', '/etc/ld.so.cache'];
/** Variables that programs need from the environment, in addition to those that we set. */
const PASSED = /^(?:lang|lc_all|tz|systemroot|windir|comspec|pathext|appdata|localappdata|programfiles|temp|tmp)$/i;

/**
 * The environment of one run of npm. In bubblewrap: Node, npm, the folder to install into, the cache, the settings made for this run, and a
 * network with nothing but the registry. Without bubblewrap: the same settings, environment and limits.
 */
export class NpmRoom {
  /** npm's flags that name its settings files. */
  readonly settings: readonly string[];
  /** Environment of the program that is started. With a sandbox, npm's own environment is part of the command. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #sandbox: Sandbox;
  readonly #access: ProgramAccess;
  readonly #folder: string;
  /** Owner of the working folder before it was handed over to another user. */
  #owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly #proxy: EgressProxy | undefined;
  readonly #refusals: AbortController;

  private constructor(sandbox: Sandbox, access: ProgramAccess, folder: string, proxy: EgressProxy | undefined, refusals: AbortController) {
    this.#sandbox = sandbox;
    this.#access = access;
    this.#folder = folder;
    this.#proxy = proxy;
    this.#refusals = refusals;
    this.environment = sandbox.tier === 'bwrap' ? {} : access.environment;
    // Two different files, because npm refuses to read the same one twice.
    this.settings = [`--userconfig=${join(folder, 'npmrc')}`, `--globalconfig=${join(folder, 'none')}`];
  }

  /** Prepares the room. Rejects with `sandbox-missing`. */
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
      return new NpmRoom(sandbox, accessFor(needs, settings, folder, proxy), folder, proxy, refusals);
    } catch (error) {
      await proxy?.close();
      await removeTree(folder);
      throw error;
    }
  }

  /** Aborts, with the reason, when npm was denied a connection: npm would retry for a minute and then report something less specific. */
  get refused(): AbortSignal {
    return this.#refusals.signal;
  }

  /**
   * Returns the command that runs a program in the room. Where root gives programs a user of their own, that user becomes the owner of the
   * folder's content.
   */
  async command(program: readonly string[]): Promise<readonly [string, ...string[]]> {
    const { workdir } = this.#access;
    const before = await lstat(workdir);
    const command = this.#sandbox.command(this.#access, program);
    const now = await lstat(workdir);
    if (now.uid !== before.uid) {
      this.#owner = before;
      await chownTree(now, workdir);
    }
    return command;
  }

  async close(): Promise<void> {
    await this.#proxy?.close();
    await removeTree(this.#folder);
    // A file whose owner cannot be restored is found when the layer is checked.
    if (this.#owner !== undefined) await chownTree(this.#owner, this.#access.workdir).catch(() => {});
  }
}

async function chownTree(owner: { readonly uid: number; readonly gid: number }, path: string): Promise<void> {
  await lchown(path, owner.uid, owner.gid);
  const entries = (await lstat(path)).isDirectory() ? await readdir(path) : [];
  for (const name of entries) await chownTree(owner, join(path, name));
}

/** The sandbox has no network of its own: npm reaches everything through the proxy. */
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

function accessFor(needs: NpmRoomNeeds, settings: NpmSettings, folder: string, proxy: EgressProxy | undefined): ProgramAccess {
  const { cwd, npmFolder, environment, scripts = false } = needs;
  // Debian installs npm's own dependencies next to it instead of below.
  const npm = existsSync(join(npmFolder, 'node_modules')) ? npmFolder : dirname(npmFolder);
  const passedOn = Object.entries(environment).filter(([name, value]) => value !== undefined && PASSED.test(name)) as [string, string][];
  const programs = scripts ? PROGRAMS.filter((path) => existsSync(path)) : [];
  const sandboxed = proxy !== undefined;
  const path = sandboxed ? [dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin'].join(delimiter) : (environment['PATH'] ?? '');
  const ownNpmrc = join(npmFolder, 'npmrc');
  return {
    workdir: cwd,
    readable: [...programs, npm],
    placed: [
      ...(existsSync(ownNpmrc) ? [{ source: join(folder, 'empty'), target: ownNpmrc }] : []),
      ...(sandboxed ? [PRELOAD, { source: proxy.socketPath, target: PROXY_SOCKET }] : []),
    ],
    environment: {
      ...Object.fromEntries(passedOn.filter(([name]) => !sandboxed || !/^te?mp$/i.test(name))),
      PATH: path,
      HOME: cwd,
      ...(process.platform === 'win32' && { USERPROFILE: cwd }),
      ...(settings.extraCa !== undefined && { NODE_EXTRA_CA_CERTS: join(folder, 'extra-ca.pem') }),
      ...(sandboxed && { NODE_OPTIONS: `--require ${PRELOAD.target}`, TMPDIR: '/tmp' }),
    },
  };
}
