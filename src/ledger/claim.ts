import { describeError } from '../errors.js';
import type { JobFiles } from '../job/files.js';
import { MAX_JOB_DATA_BYTES, MAX_MESSAGE_BYTES } from '../job/limits.js';
import { admit, type Candidate } from './admission.js';
import { endRuns } from './end-runs.js';
import { lanesFor } from './lane-book.js';
import { padded, repeated, sized } from './lists.js';
import { CHUNK, type Operations } from './operations.js';
import { packed } from './packed.js';
import { readRunsBySeq } from './read-runs.js';
import type { Claim, LeasedJob, LeasedParent } from './requests.js';
import { failWithoutRun } from './run-end.js';
import { leaseEnd } from './run-time.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';

interface ReadyRow extends Candidate {
  readonly id: string;
  readonly priority: number;
  readonly weight: number;
  readonly weight_part: number;
  readonly parents: number;
  readonly lease: number;
  readonly attempts_made: number;
  readonly timeout_ms: number | null;
  readonly data: string;
  readonly files: string | null;
}

/**
 * With `run_at` in the index of ready jobs, each claim would walk over every delayed job of a higher priority (measured: 20 times slower
 * with 100,000 of them). So delayed jobs have an index of their own, and lose their `run_at` when they are due.
 */
const PROMOTE = `UPDATE job SET run_at = NULL WHERE seq IN (
  SELECT seq FROM job WHERE state = 'ready' AND run_at IS NOT NULL AND run_at <= ? ORDER BY run_at LIMIT ? FOR UPDATE SKIP LOCKED)`;
/** Bounds the duration of a single claim when very many jobs become due at the same instant; later claims promote the rest. */
const MAX_PROMOTED = 1_000;

const READY = `SELECT ${packed('seq, id, channel, priority, grp, workgroup, parents, lease, attempts_made, timeout_ms, merge_key, weight, weight_part, files')}, data FROM job
  WHERE lane = ? AND state = 'ready' AND run_at IS NULL AND parked IS NULL ORDER BY priority DESC, seq LIMIT ? FOR UPDATE SKIP LOCKED`;
const LEASE = sized(
  (
    count,
  ) => `UPDATE job SET state = 'leased', lease = lease + 1, lease_until = ${leaseEnd('CAST(? AS INTEGER)')}, worker = ?, started_at = ?,
  begun_at = NULL WHERE seq IN (${repeated('?', count)})`,
);

const COUNT_HELD = `SELECT COUNT(*) AS held FROM job WHERE state = 'leased' AND worker = ?`;

/** Rows read per query, so that large data is not read in bulk only to be left behind. */
const PAGE = 64;
/** Limit on the data of one claim, except for a single larger job: it must fit in one message. */
const MAX_CLAIM_BYTES = MAX_JOB_DATA_BYTES;
/**
 * Limit on everything sent with one job, including the data and outputs of its parents: less than a message, because JSON texts are
 * JSON-encoded again in it.
 */
const MAX_SENT_BYTES = MAX_MESSAGE_BYTES - 64 * 1024;
/** Maximum number of jobs one claim may park; the next claim continues from there. */
const MAX_PARKED = 1_000;

/** Claims in chunks, so that a large claim does not block others; stops early once it has half the data that one message may carry. */
export async function claimUpTo(operations: Operations, claim: Claim, now: number): Promise<LeasedJob[]> {
  const leased: LeasedJob[] = [];
  let bytes = 0;
  while (leased.length < claim.limit) {
    const limit = Math.min(CHUNK, claim.limit - leased.length);
    const jobs = await operations.run(limit, async (transaction) => {
      const until = transaction.at(claim.until);
      const worker = await operations.workers.seqOf(transaction, claim.worker);
      return claimJobs(transaction, worker, { ...claim, limit, until }, transaction.at(now));
    });
    leased.push(...jobs);
    bytes += jobs.reduce((sum, job) => sum + Buffer.byteLength(job.data), 0);
    if (jobs.length < limit || bytes > MAX_JOB_DATA_BYTES / 2) break;
  }
  return leased;
}

async function claimJobs(transaction: Transaction, worker: number, claim: Omit<Claim, 'worker'>, now: number): Promise<LeasedJob[]> {
  if (transaction.promotedAt < now) {
    await transaction.run(PROMOTE, [now, MAX_PROMOTED]);
    transaction.promotedAt = now;
  }
  const lanes = await lanesFor(transaction, claim.channels, claim.labels ?? []);
  const leased: LeasedJob[] = [];
  const wanted = await claimLimit(transaction, worker, claim);
  let room = MAX_CLAIM_BYTES;
  let parked = 0;
  while (leased.length < wanted && room > 0) {
    const limit = Math.min(PAGE, wanted - leased.length);
    const found = await readyRows(transaction, lanes, limit);
    const startable = await checkStartable(transaction, found, now);
    parked += startable.parked;
    const parents = await parentsOf(transaction, startable.admitted);
    const rows: ReadyRow[] = [];
    const tooLarge: ReadyRow[] = [];
    for (const row of startable.admitted) {
      const bytes = bytesOf(row, parents?.get(row.seq));
      if (bytes > MAX_SENT_BYTES) {
        tooLarge.push(row);
        continue;
      }
      room -= bytes;
      if (room < 0 && leased.length + rows.length > 0) break;
      rows.push(row);
    }
    await failTooLarge(transaction, tooLarge, now);
    if (rows.length > 0) {
      const list = padded(rows.map((row) => row.seq));
      const changed = await transaction.run(LEASE(list.length), [now, claim.until, claim.until, now, worker, now, ...list]);
      if (changed !== rows.length) throw new Error(`${rows.length} jobs were to be leased, ${changed} were`);
    }
    if (rows.length > 0) transaction.due(claim.until);
    for (const row of rows) {
      transaction.moved(row, 'ready', 'leased');
      leased.push(leasedJob(row, parents?.get(row.seq)));
    }
    if (found.length < limit || rows.length + tooLarge.length + startable.parked === 0) break;
    if (parked >= MAX_PARKED) {
      transaction.freed();
      break;
    }
  }
  return leased;
}

/** Returns how many jobs the worker may receive, given `maxHeld`. */
async function claimLimit(transaction: Transaction, worker: number, { limit, maxHeld, onFull }: Omit<Claim, 'worker'>): Promise<number> {
  if (maxHeld === undefined) return limit;
  const [{ held } = { held: 0 }] = await transaction.all<{ held: number }>(COUNT_HELD, [worker]);
  if (held + limit > maxHeld) onFull?.();
  return Math.max(0, Math.min(limit, maxHeld - held));
}

async function readyRows(transaction: Transaction, lanes: readonly number[], limit: number): Promise<ReadyRow[]> {
  const rows: ReadyRow[] = [];
  for (const lane of lanes) rows.push(...(await transaction.all<ReadyRow>(READY, [lane, limit])));
  if (lanes.length > 1) rows.sort((a, b) => b.priority - a.priority || a.seq - b.seq).splice(limit);
  return rows;
}

function checkStartable(
  transaction: Transaction,
  rows: readonly ReadyRow[],
  now: number,
): Promise<{ readonly admitted: readonly ReadyRow[]; readonly parked: number }> {
  const free = rows.every(({ grp, workgroup, merge_key }) => grp === null && workgroup === null && merge_key === null);
  return free ? Promise.resolve({ admitted: rows, parked: 0 }) : admit(transaction, rows, now);
}

/** A failed parent may have an output too, but children must not rely on it. */
const PARENTS = sized(
  (count) => `SELECT edge.child, job.id, job.channel, job.data,
  CASE WHEN job.state = 'completed' THEN job.output END AS output,
  CASE WHEN job.state = 'completed' THEN job.outcome_files END AS outcome_files FROM edge JOIN job ON job.seq = edge.parent
  WHERE edge.child IN (${repeated('?', count)}) ORDER BY edge.child, edge.place`,
);

interface ParentRow {
  readonly child: number;
  readonly id: string;
  readonly channel: string;
  readonly data: string;
  readonly output: string | null;
  readonly outcome_files: string | null;
}

async function parentsOf(transaction: Transaction, rows: readonly ReadyRow[]): Promise<Map<number, LeasedParent[]> | undefined> {
  const children = rows.filter(({ parents }) => parents > 0).map(({ seq }) => seq);
  if (children.length === 0) return undefined;
  const parents = new Map<number, LeasedParent[]>();
  for (const { child, id, channel, data, output, outcome_files } of await transaction.allOf<ParentRow>(PARENTS, children)) {
    const list = parents.get(child);
    const files = outcome_files === null ? {} : { files: storedJson<JobFiles>(outcome_files) };
    const parent = { id, channel, data, output: output ?? 'null', ...files };
    if (list === undefined) parents.set(child, [parent]);
    else list.push(parent);
  }
  return parents;
}

function bytesOf({ data, files }: ReadyRow, parents: readonly LeasedParent[] = []): number {
  const own = Buffer.byteLength(data) + (files === null ? 0 : Buffer.byteLength(files));
  return parents.reduce((sum, parent) => sum + Buffer.byteLength(parent.data) + Buffer.byteLength(parent.output), own);
}

/** Fails jobs that are too large for any message, since they could never run. */
async function failTooLarge(transaction: Transaction, rows: readonly ReadyRow[], now: number): Promise<void> {
  if (rows.length === 0) return;
  const error = { code: 'parents-too-large', message: describeError('parents-too-large', `${MAX_SENT_BYTES} bytes may go with a job`) };
  const runs = await readRunsBySeq(
    transaction,
    rows.map(({ seq }) => seq),
  );
  await endRuns(
    transaction,
    runs.map((row) => failWithoutRun(row, error, now)),
    now,
  );
}

function leasedJob(row: ReadyRow, parents: LeasedParent[] | undefined): LeasedJob {
  return {
    id: row.id,
    lease: row.lease + 1,
    channel: row.channel,
    data: row.data,
    attempt: row.attempts_made + 1,
    timeoutMs: row.timeout_ms ?? undefined,
    ...(parents !== undefined && { parents }),
    ...(row.files !== null && { files: storedJson<JobFiles>(row.files) }),
  };
}
