import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A process as it can be told from a later one with the same number. */
export interface MarkedProcess {
  readonly pid: number;
  readonly mark: string;
}

/** Undefined if there is no such process, or only what is left of one that its parent has not looked at yet. */
export function markProcess(pid: number): MarkedProcess | undefined {
  const mark = process.platform === 'linux' ? linuxMark(pid) : otherMark(pid);
  return mark === undefined ? undefined : { pid, mark };
}

export function isAlive({ pid, mark }: MarkedProcess): boolean {
  return markProcess(pid)?.mark === mark;
}

/** Signals the process, or with `group` all of the group that it leads; false if it is gone already. */
export function signalProcess(marked: MarkedProcess, signal: NodeJS.Signals, { group = false } = {}): boolean {
  if (!isAlive(marked)) return false;
  try {
    process.kill(group ? -marked.pid : marked.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** When it started, in milliseconds since the epoch and to a second or so; undefined if there is no such process. */
export function startedAt(pid: number): number | undefined {
  const mark = markProcess(pid)?.mark;
  if (mark === undefined) return undefined;
  if (process.platform !== 'linux') return Date.parse(mark);
  const upMs = Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1_000;
  // A tick is 10 ms on every Linux that Node runs on.
  return Date.now() - upMs + Number.parseInt(mark, 10) * 10;
}

/** When it started, in clock ticks since the start of the machine, and which start that was. */
function linuxMark(pid: number): string | undefined {
  try {
    // proc(5): the name in parentheses may hold anything; behind it the state is the 3rd field, the start time the 22nd.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return `${fields[19]}@${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}`;
  } catch {
    return undefined;
  }
}

function otherMark(pid: number): string | undefined {
  try {
    const text = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const [, state = 'Z', startedAt] = /^\s*(\S+)\s+(\S.*?)\s*$/.exec(text) ?? [];
    return state.startsWith('Z') ? undefined : startedAt;
  } catch {
    return undefined;
  }
}
