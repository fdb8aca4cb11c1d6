import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** A process, distinguishable from a later one with the same pid. */
export interface MarkedProcess {
  readonly pid: number;
  readonly mark: string;
}

/** Returns undefined if there is no such process, or only a zombie. */
export function markProcess(pid: number): MarkedProcess | undefined {
  const mark = process.platform === 'linux' ? linuxMark(pid) : otherMark(pid);
  return mark === undefined ? undefined : { pid, mark };
}

/** Whether this very process, not a later one with its pid, is alive. */
export function isAlive({ pid, mark }: MarkedProcess): boolean {
  return markProcess(pid)?.mark === mark;
}

/** A process, distinguishable also from those of other machines and containers. */
export interface PlacedProcess extends MarkedProcess {
  readonly host: string;
  /** The pid namespace: every container has its own. Empty where the system does not report it. */
  readonly numbers: string;
}

/** Describes this very process. */
export function placeSelf(): PlacedProcess {
  return { ...(markProcess(process.pid) ?? { pid: process.pid, mark: '' }), host: hostname(), numbers: processNumbers() };
}

/**
 * Whether the process is known to have ended: it was on this machine and in our pid namespace and is gone, or the machine has been
 * rebooted since. False proves nothing: it may run on another machine or in another container that shares a folder with this one.
 */
export function isKnownDead(placed: PlacedProcess): boolean {
  const self = placeSelf();
  if (placed.host !== self.host || placed.mark === '') return false;
  const isBeforeBoot = process.platform === 'linux' && bootOf(placed.mark) !== bootOf(self.mark);
  return isBeforeBoot || (placed.numbers === self.numbers && !isAlive(placed));
}

/** Signals the process, or with `group` the process group that it leads. Returns false if it is already gone. */
export function signalProcess(marked: MarkedProcess, signal: NodeJS.Signals, { group = false } = {}): boolean {
  if (!isAlive(marked)) return false;
  try {
    process.kill(group ? -marked.pid : marked.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Returns the start time in milliseconds since the epoch, accurate to about a second; undefined if there is no such process. */
export function startedAt(pid: number): number | undefined {
  const mark = markProcess(pid)?.mark;
  if (mark === undefined) return undefined;
  if (process.platform !== 'linux') return Date.parse(mark);
  const upMs = Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1_000;
  // A clock tick is 10 ms on every Linux that Node supports.
  return Date.now() - upMs + Number.parseInt(mark, 10) * 10;
}

/** Start time in clock ticks since boot, and the boot id. */
function linuxMark(pid: number): string | undefined {
  try {
    // proc(5): the name in parentheses may contain anything; after it, the state is the 3rd field and the start time the 22nd.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return `${fields[19]}@${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}`;
  } catch {
    return undefined;
  }
}

function bootOf(mark: string): string {
  return mark.slice(mark.indexOf('@') + 1);
}

function processNumbers(): string {
  try {
    return process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : '';
  } catch {
    return '';
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
