import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { redact } from '../log.js';
import { abortError } from './flights.js';

export interface NpmRun {
  readonly cwd: string;
  /** npm's cache: our own, so that a task cannot spoil the owner's. */
  readonly cacheFolder: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** What npm said in a few words, or undefined if it succeeded. */
export type NpmFault = string | undefined;

const MAX_FAULT_CHARS = 300;

/**
 * What npm may see of our environment: where programs are and how to reach a registry. Everything else, tokens above all, is
 * left out, because install scripts (where the owner allows them) inherit it.
 */
const passed = [
  /^(?:path|lang|lc_all|tz|systemroot|windir|comspec|pathext|appdata|localappdata|programfiles|temp|tmp|tmpdir)$/i,
  /^(?:https?|all|no)_?proxy$/i,
  /^(?:node_extra_ca_certs|ssl_cert_file|ssl_cert_dir)$/i,
  /^npm_config_(?:registry|@[^:]+:registry|proxy|https?[-_]proxy|no[-_]?proxy|ca|cafile|strict[-_]ssl|userconfig|globalconfig|fetch[-_].*)$/i,
];

export function npmEnvironment(environment: NodeJS.ProcessEnv, homeFolder: string): Record<string, string> {
  const clean: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment))
    if (value !== undefined && passed.some((pattern) => pattern.test(name))) clean[name] = value;
  clean['HOME'] = homeFolder;
  if (process.platform === 'win32') clean['USERPROFILE'] = homeFolder;
  // The owner's registry, proxy and certificates are named in a file of the home that npm no longer sees.
  const userConfig = join(environment['HOME'] ?? homedir(), '.npmrc');
  if (!Object.keys(clean).some((name) => name.toLowerCase() === 'npm_config_userconfig') && existsSync(userConfig))
    clean['npm_config_userconfig'] = userConfig;
  return clean;
}

/** Runs npm to its end. Rejects only when the signal aborts; then, and after the time is up, the whole process tree is killed. */
export async function runNpm(args: readonly string[], { cwd, cacheFolder, timeoutMs, signal }: NpmRun): Promise<NpmFault> {
  if (signal.aborted) throw abortError(signal);
  const always = ['--no-audit', '--no-fund', '--no-progress', '--no-update-notifier', '--loglevel=error', '--logs-max=0'];
  const { execa } = await loadExeca();
  const child = execa('npm', [...args, ...always, `--cache=${cacheFolder}`], {
    cwd,
    env: npmEnvironment(process.env, cwd),
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    reject: false,
    // A process group of its own, to be killed as a whole.
    detached: process.platform !== 'win32',
    cleanup: true,
  });
  let timedOut = false;
  const kill = () => killTree(child.pid, execa);
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, timeoutMs);
  signal.addEventListener('abort', kill, { once: true });
  process.once('exit', kill);
  const result = await child.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
    process.removeListener('exit', kill);
  });
  if (signal.aborted) throw abortError(signal);
  if (timedOut) return `npm did not finish within ${timeoutMs} ms`;
  if (result.exitCode === 0) return undefined;
  if (result.code === 'ENOENT') return 'npm was not found on this machine';
  return npmComplaint(result.all ?? '') ?? result.shortMessage ?? 'npm failed';
}

/** Only when needed: it takes about 100 ms and 17 MB, and most workers never install anything after their first day. */
function loadExeca(): Promise<typeof import('execa')> {
  return import('execa');
}

function killTree(pid: number | undefined, execa: Awaited<ReturnType<typeof loadExeca>>['execa']): void {
  if (pid === undefined) return;
  if (process.platform === 'win32') {
    execa('taskkill', ['/pid', String(pid), '/T', '/F'], { reject: false, stdio: 'ignore' }).catch(() => {});
    return;
  }
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // gone already
  }
}

/** The lines of npm's output that say why. */
export function npmComplaint(output: string): string | undefined {
  const lines: string[] = [];
  for (const line of output.split('\n')) {
    const said = /^npm (?:error|ERR!) ?(.*)$/.exec(line.trim())?.[1]?.trim();
    if (said === undefined || said === '' || /^(?:A complete log|Log files|For a full report|errno|syscall|Run "npm help)/.test(said))
      continue;
    lines.push(said);
  }
  if (lines.length === 0) return undefined;
  const text = redact(
    lines
      .slice(0, 4)
      .join('; ')
      .replace(/\/\/[^\s/@]+@/g, '//'),
  );
  return text.length > MAX_FAULT_CHARS ? `${text.slice(0, MAX_FAULT_CHARS)}…` : text;
}
