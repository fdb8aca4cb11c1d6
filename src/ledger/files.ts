import { PeerworkError } from '../errors.js';
import type { FileRef, JobFiles } from '../job/files.js';
import type { LeaseKey } from '../job/verbs.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { Operations } from './operations.js';
import type { WorkerRef } from './records.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';

/** A file whose content is in the file store, under its hash and this number: content that was swept and stored again has another number. */
export interface StoredFile extends FileRef {
  readonly seq: number;
}

const FIND = sized((count) => `SELECT seq, sha256, size FROM file WHERE sha256 IN (${repeated('?', count)})`);
/** Moves `used_at`, so that a sweep that began before this transaction committed sees a changed row and leaves it. In one order: no deadlocks. */
const USE = sized((count) => `UPDATE file SET used_at = ? WHERE seq IN (${repeated('?', count)})`);
const ENTER = 'INSERT INTO file (seq, sha256, size, used_at) VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING';
const NAME = sized((count) => `INSERT INTO job_file (job, file) VALUES ${repeated('(?, ?)', count)} ON CONFLICT DO NOTHING`);
const KEEP = 'UPDATE job SET outcome_files = ? WHERE seq = ?';
const FORGET = sized((count) => `DELETE FROM job_file WHERE job IN (${repeated('?', count)})`);
const UNUSED = `SELECT seq, sha256, size FROM file WHERE used_at < ? AND NOT EXISTS (SELECT 1 FROM job_file WHERE job_file.file = file.seq)
  ORDER BY used_at LIMIT ? FOR UPDATE SKIP LOCKED`;
const REMOVE = sized((count) => `DELETE FROM file WHERE seq IN (${repeated('?', count)})`);
const KNOWN = sized((count) => `SELECT seq FROM file WHERE seq IN (${repeated('?', count)})`);
const SCHEDULED = `SELECT job FROM schedule WHERE job LIKE '%"files"%'`;
const OF_LEASE = `SELECT job.seq, job.files FROM job JOIN worker ON worker.seq = job.worker
  WHERE job.id = ? AND job.lease = ? AND job.state = 'leased' AND worker.id = ?`;
const OF_PARENTS = `SELECT job.outcome_files AS files FROM edge JOIN job ON job.seq = edge.parent
  WHERE edge.child = ? AND job.state = 'completed' AND job.outcome_files IS NOT NULL`;

/** The entries of stored files. The content itself is in the file store. */
export class FileEntries {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Returns the stored file with this content, and counts it as used now; undefined if there is none. */
  use(sha256: string, now: number): Promise<StoredFile | undefined> {
    return this.#operations.run(1, (transaction) => useFile(transaction, sha256, transaction.at(now)));
  }

  /** Draws a number under which content can be stored before it is entered. */
  draw(): Promise<number> {
    return this.#operations.run(1, (transaction) => transaction.draw('file', 1));
  }

  /** Enters a file whose content is stored. Returns the entry that is kept: with another number, another Master was faster. */
  enter({ seq, sha256, size }: StoredFile, now: number): Promise<StoredFile> {
    return this.#operations.run(1, async (transaction) => {
      await transaction.run(ENTER, [seq, sha256, size, transaction.at(now)]);
      const kept = await useFile(transaction, sha256, transaction.at(now));
      if (kept === undefined) throw new Error(`the file ${sha256} was entered and is not there`);
      return kept;
    });
  }

  /** Removes the entries of at most `limit` files that no job and no schedule names and that were last used before `before`; returns them. */
  sweep(before: number, limit: number): Promise<StoredFile[]> {
    return this.#operations.run(limit, (transaction) => sweepFiles(transaction, transaction.at(before), limit));
  }

  /** Returns those of the numbers that belong to files. */
  async known(seqs: readonly number[]): Promise<ReadonlySet<number>> {
    const rows = await this.#operations.run(seqs.length, (transaction) => transaction.allOf<{ seq: number }>(KNOWN, seqs));
    return new Set(rows.map(({ seq }) => seq));
  }

  /** Returns a file of a job that this worker runs, or of its parents; undefined if it does not run it, or none of them has the file. */
  ofLease(worker: WorkerRef, { id, lease }: LeaseKey, sha256: string): Promise<StoredFile | undefined> {
    return this.#operations.run(1, async (transaction) => {
      const [row] = await transaction.all<{ seq: number; files: string | null }>(OF_LEASE, [id, lease, worker.id]);
      if (row === undefined) return undefined;
      const named = [row, ...(await transaction.all<{ files: string | null }>(OF_PARENTS, [row.seq]))];
      const all = named.flatMap(({ files }) => (files === null ? [] : [storedJson<JobFiles>(files)]));
      const found = all.flatMap((files) => Object.values(files)).some((file) => file.sha256 === sha256);
      return found ? (await filesIn(transaction, all)).get(sha256) : undefined;
    });
  }
}

async function useFile(transaction: Transaction, sha256: string, now: number): Promise<StoredFile | undefined> {
  const [found] = await transaction.allOf<StoredFile>(FIND, [sha256]);
  if (found !== undefined) await transaction.runOf(USE, [found.seq], [now]);
  return found;
}

/** A job that names files. */
interface NamingJob {
  readonly seq: number;
  readonly files: JobFiles;
}

/** Notes which files jobs need, so that these stay as long as the jobs. Throws `file-unknown` for the first that is not stored. */
export async function nameFiles(transaction: Transaction, jobs: readonly NamingJob[], now: number): Promise<void> {
  const all = jobs.map(({ files }) => files);
  const found = await filesIn(transaction, all);
  const unknown = unknownAmong(all, found);
  if (unknown !== undefined) throw new PeerworkError('file-unknown', unknown);
  const named = jobs.flatMap(({ seq, files }) => Object.values(files).map(({ sha256 }) => [seq, found.get(sha256)?.seq ?? 0] as const));
  await transaction.runOf(
    USE,
    [...new Set(named.map(([, file]) => file))].sort((one, other) => one - other),
    [now],
  );
  for (const piece of pieces(named)) {
    const list = padded(piece);
    await transaction.run(NAME(list.length), list.flat());
  }
}

/** Records the files that runs made, and notes that their jobs need them. Throws `file-unknown` for the first that is not stored. */
export async function keepOutcomeFiles(transaction: Transaction, jobs: readonly NamingJob[], now: number): Promise<void> {
  await nameFiles(transaction, jobs, now);
  for (const { seq, files } of jobs) await transaction.run(KEEP, [JSON.stringify(files), seq]);
}

/** The first of these files that is not stored, in words; undefined if all are. */
export async function unknownFile(transaction: Transaction, all: readonly JobFiles[]): Promise<string | undefined> {
  return all.length === 0 ? undefined : unknownAmong(all, await filesIn(transaction, all));
}

async function filesIn(transaction: Transaction, all: readonly JobFiles[]): Promise<ReadonlyMap<string, StoredFile>> {
  const hashes = new Set(all.flatMap((files) => Object.values(files).map(({ sha256 }) => sha256)));
  return new Map((await transaction.allOf<StoredFile>(FIND, [...hashes].sort())).map((file) => [file.sha256, file]));
}

function unknownAmong(all: readonly JobFiles[], found: ReadonlyMap<string, StoredFile>): string | undefined {
  for (const files of all)
    for (const [name, { sha256, size }] of Object.entries(files)) {
      const file = found.get(sha256);
      if (file === undefined) return `${JSON.stringify(name)}, SHA-256 ${sha256}`;
      if (file.size !== size) return `${JSON.stringify(name)} has ${file.size} bytes, not ${size}`;
    }
  return undefined;
}

/** These jobs are deleted. */
export async function forgetFiles(transaction: Transaction, jobs: readonly number[]): Promise<void> {
  await transaction.runOf(FORGET, jobs);
}

async function sweepFiles(transaction: Transaction, before: number, limit: number): Promise<StoredFile[]> {
  const unused = await transaction.all<StoredFile>(UNUSED, [before, limit]);
  if (unused.length === 0) return [];
  const scheduled = new Set<string>();
  for (const { job } of await transaction.all<{ job: string }>(SCHEDULED))
    for (const { sha256 } of Object.values(storedJson<{ files?: JobFiles }>(job).files ?? {})) scheduled.add(sha256);
  const swept = unused.filter(({ sha256 }) => !scheduled.has(sha256));
  await transaction.runOf(
    REMOVE,
    swept.map(({ seq }) => seq),
  );
  return swept;
}
