import { createHash } from 'node:crypto';
import { PeerworkError } from '../../../errors.js';

/** Prefix of the ids of our own workers; their processes contain the worker's id. */
export const WORKER_MARK = 'peerwork-';

/**
 * Throws `option-invalid`. worqr takes a queue's name from behind the first `_` of a pub/sub channel, and from the third `:`-separated part
 * of a key, so a prefix with either character would break every peer.
 */
export function checkPrefix(prefix: string): string {
  if (/^[\w.-]{1,100}$/.test(prefix) && !prefix.includes('_')) return prefix;
  throw new PeerworkError('option-invalid', `the prefix of worqr ${JSON.stringify(prefix)} may hold letters, digits, . and - only`);
}

/** Throws `option-invalid`. A colon would hide the queue from worqr's own listing, which splits names at colons. */
export function checkQueue(queue: string): string {
  if (queue !== '' && queue.length <= 200 && !/[\p{Cc}\p{Cs}:]/u.test(queue)) return queue;
  throw new PeerworkError('option-invalid', `the worqr queue ${JSON.stringify(queue.slice(0, 60))} has a name that cannot be used`);
}

/** worqr's identity of a task: the MD5 hash of its text. */
export function uniqueOf(task: string): string {
  return createHash('md5').update(task, 'utf8').digest('hex');
}

/** Name of a pub/sub channel; underscores in the queue's name are kept. */
export function channelOf(prefix: string, queue: string, type: 'work' | 'cancel' | 'done'): string {
  return `${prefix}_${queue}_${type}`;
}

/** A process id begins with its queue: peers that recover a process return its task to the queue named before the last `_`. */
export function queueOf(process: string): string {
  return process.slice(0, process.lastIndexOf('_'));
}

/** Id of the n-th process of one of our workers; it names the worker that holds it. */
export function processOf(queue: string, worker: string, n: number): string {
  return `${queue}_${worker}.${n}`;
}

/** Whether the process is held by this worker of ours. */
export function isOf(worker: string, process: string): boolean {
  return process.slice(queueOf(process).length + 1).startsWith(`${worker}.`);
}

/** Returns the worker that holds this process of ours. */
export function workerOf(process: string): string {
  return process.slice(queueOf(process).length + 1, process.lastIndexOf('.'));
}
