import { MAX_JOB_DATA_BYTES } from '../job/limits.js';
import type { Claim, LeasedJob } from './ledger.js';
import { padded, repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';

interface ReadyRow {
  readonly seq: number;
  readonly id: string;
  readonly channel: string;
  readonly priority: number;
  readonly lease: number;
  readonly attempts_made: number;
  readonly timeout_ms: number | null;
  readonly data: string;
}

/**
 * `run_at` in the index of ready jobs would make each claim walk over every delayed job of a higher priority (measured: 20 times slower
 * with 100,000 of them). So a delayed job has an index of its own, and loses its `run_at` when it is due.
 */
const PROMOTE = `UPDATE job SET run_at = NULL WHERE seq IN (
  SELECT seq FROM job WHERE state = 'ready' AND run_at IS NOT NULL AND run_at <= ? ORDER BY run_at LIMIT ? FOR UPDATE SKIP LOCKED)`;
/** Bounds the time that one claim can take when very many jobs become due at the same instant; the next claims promote the others. */
const MAX_PROMOTED = 1_000;

const READY = `SELECT seq, id, channel, priority, lease, attempts_made, timeout_ms, data FROM job
  WHERE channel = ? AND state = 'ready' AND run_at IS NULL ORDER BY priority DESC, seq LIMIT ? FOR UPDATE SKIP LOCKED`;
const LEASE = sized(
  (count) => `UPDATE job SET state = 'leased', lease = lease + 1, lease_until = ?, worker = ?, started_at = ?
  WHERE seq IN (${repeated('?', count)})`,
);

/** Rows read at once, so that large data which will not be handed out is not read in great numbers. */
const PAGE = 64;
/** The data of one claim together, unless a single job has more: one message must hold it. */
const MAX_CLAIM_BYTES = MAX_JOB_DATA_BYTES;

export async function claimJobs(
  transaction: Transaction,
  worker: number,
  claim: Pick<Claim, 'channels' | 'limit' | 'until'>,
  now: number,
): Promise<LeasedJob[]> {
  if (transaction.promotedAt < now) {
    await transaction.run(PROMOTE, [now, MAX_PROMOTED]);
    transaction.promotedAt = now;
  }
  const channels = new Set(claim.channels);
  const leased: LeasedJob[] = [];
  let room = MAX_CLAIM_BYTES;
  while (leased.length < claim.limit) {
    const limit = Math.min(PAGE, claim.limit - leased.length);
    const found = await readyRows(transaction, channels, limit);
    const rows: ReadyRow[] = [];
    for (const row of found) {
      room -= Buffer.byteLength(row.data);
      if (room < 0 && leased.length + rows.length > 0) break;
      rows.push(row);
    }
    if (rows.length > 0) {
      const list = padded(rows.map((row) => row.seq));
      const changed = await transaction.run(LEASE(list.length), [claim.until, worker, now, ...list]);
      if (changed !== rows.length) throw new Error(`${rows.length} jobs were to be leased, ${changed} were`);
    }
    for (const row of rows) {
      transaction.moved(row.channel, 'ready', 'leased');
      leased.push(leasedJob(row));
    }
    if (rows.length < limit) break;
  }
  return leased;
}

async function readyRows(transaction: Transaction, channels: ReadonlySet<string>, limit: number): Promise<ReadyRow[]> {
  const rows: ReadyRow[] = [];
  for (const channel of channels) rows.push(...(await transaction.all<ReadyRow>(READY, [channel, limit])));
  if (channels.size > 1) rows.sort((a, b) => b.priority - a.priority || a.seq - b.seq).splice(limit);
  return rows;
}

function leasedJob(row: ReadyRow): LeasedJob {
  return {
    id: row.id,
    lease: row.lease + 1,
    channel: row.channel,
    data: row.data,
    attempt: row.attempts_made + 1,
    timeoutMs: row.timeout_ms ?? undefined,
  };
}
