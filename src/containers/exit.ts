import { type ErrorCode, PeerworkError } from '../errors.js';
import { EXIT_KILLED } from '../kit/exit-codes.js';
import type { InspectedState } from './engine-json.js';

/** How a container ended. */
export interface ContainerExit {
  /** 137 and similar for one that was killed; undefined if it never ran. */
  readonly exitCode: number | undefined;
  readonly outOfMemory: boolean;
  /** The engine's error message if it never ran. */
  readonly complaint?: string;
}

/**
 * Interprets the engine's state of an ended container. `byUs`: we killed it, so 137 has no meaning. `said`: the output of its command
 * line, the only source with podman for why a container did not start. `heapFull`: a program in it reported that its own heap was full.
 * `OOMKilled` is true whenever the kernel killed a process of the container for its memory, even if it was not the main one.
 */
export function readExit(state: InspectedState, byUs: boolean, { said = '', heapFull = false } = {}): ContainerExit {
  const exitCode = state.ExitCode ?? undefined;
  const outOfMemory = !byUs && exitCode !== 0 && (state.OOMKilled === true || heapFull);
  if (state.Status === 'created' || (state.Error ?? '') !== '')
    return { exitCode: undefined, outOfMemory: false, complaint: state.Error || said || 'it was not started' };
  return { exitCode, outOfMemory };
}

/** Returns the error of an unsuccessful exit; undefined for exit code 0. */
export function exitError(exit: ContainerExit, memoryMb: number): PeerworkError | undefined {
  if (exit.outOfMemory) return new PeerworkError('memory', `${memoryMb} MiB`);
  if (exit.exitCode === 0) return undefined;
  if (exit.exitCode === undefined) return new PeerworkError(codeOf(exit.complaint ?? ''), exit.complaint);
  return new PeerworkError('container-failed', `exit code ${exit.exitCode}${meaningOf(exit.exitCode)}`);
}

function codeOf(complaint: string): ErrorCode {
  if (/no such image|unable to find image|image not known/i.test(complaint)) return 'image-missing';
  // A command that the image lacks is the job's fault, not the engine's.
  if (/executable file not found|no such file or directory|permission denied|exec format error|invalid/i.test(complaint))
    return 'container-failed';
  return 'engine-failed';
}

function meaningOf(exitCode: number): string {
  switch (exitCode) {
    case 126:
      return ', the command cannot be run';
    case 127:
      return ', the command was not found';
    case 134:
    case 139:
      // Node's heap limit: 134 with an init process, 139 without.
      return ', it aborted or crashed';
    case EXIT_KILLED:
      // Docker misses a kill for memory in the first moments of a container.
      return ', it was killed; if it had only just begun, perhaps for its memory';
    case 143:
      return ', it was asked to end';
    default:
      return exitCode > 128 && exitCode < 160 ? `, by signal ${exitCode - 128}` : '';
  }
}
