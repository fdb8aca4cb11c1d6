import { createHash } from 'node:crypto';
import { PeerworkError } from '../../../errors.js';

export interface WorqrPlace {
  /** `redis://`, `rediss://` or `redis+sentinel://host,host/primary`, with user, password and the number of the database if there are any. */
  readonly url: string;
  /** worqr's `redisKeyPrefix`; default `worqr`. */
  readonly prefix?: string;
}

/** Workers of ours are told from others by their ids, and what they hold by the ids of the processes. */
export const WORKER_MARK = 'peerwork-';

/**
 * Throws `option-invalid`. worqr finds a queue's name behind the first `_` of a channel of pub/sub, and the third part between the `:` of a
 * key: a prefix with one of them breaks every peer.
 */
export function checkPrefix(prefix: string): string {
  if (/^[\w.-]{1,100}$/.test(prefix) && !prefix.includes('_')) return prefix;
  throw new PeerworkError('option-invalid', `the prefix of worqr ${JSON.stringify(prefix)} may hold letters, digits, . and - only`);
}

/** Throws `option-invalid`. A colon would hide the queue from worqr's own listing, which cuts names at colons. */
export function checkQueue(queue: string): string {
  if (queue !== '' && queue.length <= 200 && !/[\p{Cc}\p{Cs}:]/u.test(queue)) return queue;
  throw new PeerworkError('option-invalid', `the worqr queue ${JSON.stringify(queue.slice(0, 60))} has a name that cannot be used`);
}

/** What worqr knows a task by: the hash of its text. */
export function uniqueOf(task: string): string {
  return createHash('md5').update(task, 'utf8').digest('hex');
}

/** The channel of pub/sub, underscores and all. */
export function channelOf(prefix: string, queue: string, type: 'work' | 'cancel' | 'done'): string {
  return `${prefix}_${queue}_${type}`;
}

/** A process id begins with its queue: peers that recover it put its task back by what stands before the last `_`. */
export function queueOf(process: string): string {
  return process.slice(0, process.lastIndexOf('_'));
}

/** The id of the n-th process of a worker of ours: who holds it stands in it. */
export function processOf(queue: string, worker: string, n: number): string {
  return `${queue}_${worker}.${n}`;
}

export function isOf(worker: string, process: string): boolean {
  return process.slice(queueOf(process).length + 1).startsWith(`${worker}.`);
}

/** Of a process of ours. */
export function workerOf(process: string): string {
  return process.slice(queueOf(process).length + 1, process.lastIndexOf('.'));
}
