import { PeerworkError } from '../errors.js';

/** Result of a tool that has ended. */
export interface ToolResult {
  /** Undefined if the tool could not be started or was ended by a signal. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** The port to system tools: systemctl, loginctl, journalctl, launchctl, npm. Never rejects. */
export type RunTool = (file: string, args: readonly string[], options?: ToolOptions) => Promise<ToolResult>;

export interface ToolOptions {
  readonly cwd?: string;
  readonly timeoutMs?: number;
  /** Inherits our stdout and stderr; the result then contains no output. */
  readonly inherit?: boolean;
  readonly signal?: AbortSignal;
}

const DEFAULT_TIMEOUT_MS = 30_000;

/** Runs a tool with a timeout of 30 s by default. */
export const runTool: RunTool = async (file, args, { cwd, timeoutMs = DEFAULT_TIMEOUT_MS, inherit = false, signal } = {}) => {
  const { execa } = await import('execa');
  const { exitCode, stdout, stderr, code } = await execa(file, args, {
    stdin: 'ignore',
    reject: false,
    timeout: timeoutMs,
    ...(cwd !== undefined && { cwd }),
    ...(signal !== undefined && { cancelSignal: signal }),
    ...(inherit ? { stdout: 'inherit', stderr: 'inherit' } : {}),
  });
  return { code: exitCode, stdout: stdout ?? '', stderr: code === 'ENOENT' ? `${file} was not found` : (stderr ?? '') };
};

/** Runs a tool that must succeed, and returns its output. Rejects with `service-failed` and the last lines of its output. */
export async function runOrThrow(run: RunTool, file: string, args: readonly string[], options?: ToolOptions): Promise<string> {
  const { code, stdout, stderr } = await run(file, args, options);
  if (code === 0) return stdout;
  const output = (stderr || stdout).trim().split('\n').slice(-3).join(' ');
  throw new PeerworkError('service-failed', `${[file, ...args].join(' ')}: ${output || `exit code ${code}`}`);
}
