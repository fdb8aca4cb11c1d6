import { constants } from 'node:os';
import { describeError } from '../../errors.js';

/** The system's report of a process that ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not be started; empty if it was. */
  readonly problem: string;
  /** The last job it began, by the fence; 0 for none. */
  readonly begun: number;
  /** Whether the system killed processes for memory during its lifetime. */
  readonly amongOomKills: boolean;
}

/** What the process itself reported before its end. */
export interface LastWords {
  /** Violation of the channel's protocol by the task. */
  readonly breach: string;
  readonly sawOutOfMemory: boolean;
  /** The exit code that it announced. */
  readonly byeCode: number | undefined;
}

export interface Ending {
  readonly code: 'exited' | 'crashed' | 'memory' | 'scratch-too-large';
  readonly message: string;
}

interface Bounds {
  readonly tier: 'process' | 'bwrap';
  readonly memoryMb: number;
}

/** Determines why a process ended that was not asked to. */
export function determineEnding(exit: Exit, words: LastWords, { tier, memoryMb }: Bounds): Ending {
  if (exit.problem !== '') return ending('crashed', `the process did not start: ${exit.problem}`);
  if (words.breach !== '') return ending('crashed', words.breach);
  if (words.sawOutOfMemory) return ending('memory', `${memoryMb} MiB, its heap is full`);
  if (words.byeCode !== undefined) return ending('exited', `with code ${words.byeCode}`);
  const killedBy = exit.signal ?? (tier === 'bwrap' ? signalOf(exit.code) : undefined);
  // RLIMIT_FSIZE
  if (killedBy === 'SIGXFSZ') return ending('scratch-too-large', 'one file alone');
  if (killedBy === 'SIGKILL' && exit.amongOomKills)
    return ending('memory', `the system had none left, although the job may have ${memoryMb} MiB`);
  if (killedBy !== undefined) return ending('crashed', `by ${killedBy}`);
  return ending('exited', `with code ${exit.code}`);
}

function ending(code: Ending['code'], detail: string): Ending {
  return { code, message: describeError(code, detail) };
}

/** bubblewrap reports a signal as 128 + its number. */
function signalOf(code: number | null): string | undefined {
  if (code === null || code <= 128) return undefined;
  return Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
}

/** Describes the end of a process that died before any job began; `certain` if the task itself caused it. */
export function startupCrash({ code, message }: Ending, byeCode: number | undefined) {
  if (code === 'memory') return { code, message, certain: true } as const;
  return { code: 'task-unloadable', message, certain: byeCode !== undefined } as const;
}
