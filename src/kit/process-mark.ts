import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

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

/** A process as it can be told from those of other machines and containers, too. */
export interface PlacedProcess extends MarkedProcess {
  readonly host: string;
  /** Which numbers its number is one of: every container has its own. Empty where the system does not say. */
  readonly numbers: string;
}

/** This very process. */
export function placeSelf(): PlacedProcess {
  return { ...(markProcess(process.pid) ?? { pid: process.pid, mark: '' }), host: hostname(), numbers: processNumbers() };
}

/**
 * Whether the process is known to have ended: of this machine and among the numbers seen from here it is not there, or the machine was started anew
 * since. False says nothing: it may be a process of another machine or container that shares a folder with this one.
 */
export function isKnownDead(placed: PlacedProcess): boolean {
  const self = placeSelf();
  if (placed.host !== self.host || placed.mark === '') return false;
  const isFromBefore = process.platform === 'linux' && bootOf(placed.mark) !== bootOf(self.mark);
  return isFromBefore || (placed.numbers === self.numbers && !isAlive(placed));
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
