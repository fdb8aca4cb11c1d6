import { describeError, PeerworkError } from '../errors.js';
import type { JobError } from '../job/job.js';
import { fieldSpec, type JobField, jobFieldNames } from '../job/job-fields.js';
import { checkJobField } from '../job/job-input.js';
import { check, integer } from '../job/kinds.js';
import { MAX_ATTEMPTS } from '../job/limits.js';
import type { Value } from './driver.js';
import { releaseDuplicates } from './duplicates.js';
import { endRuns } from './end-runs.js';
import { storedFields } from './job-columns.js';
import { getJob } from './job-record.js';
import { isEnded } from './job-row.js';
import type { LaneBook } from './lane-book.js';
import type { Operations } from './operations.js';
import { readRuns } from './read-runs.js';
import type { JobChanges, JobRecord } from './records.js';
import { workgroupsNamed } from './rows-by-name.js';
import { failWithoutRun } from './run-end.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';
import { weightColumns } from './weight.js';

const CURRENT = 'SELECT channel, requires, merge_key, error FROM job WHERE seq = ?';

interface CurrentRow {
  readonly channel: string;
  readonly requires: string | null;
  readonly merge_key: string | null;
  readonly error: string | null;
}

export function changeAndRead(
  operations: Operations,
  id: string,
  changes: JobChanges,
  now: number,
  allowEnded: boolean,
): Promise<JobRecord | undefined> {
  return operations.run(1, async (transaction) => {
    const found = await changeJob(transaction, operations.lanes, id, changes, transaction.at(now), allowEnded);
    return found ? getJob(transaction, id, transaction.at(now)) : undefined;
  });
}

/** Changes a job. Returns whether it exists. Throws `job-invalid` or `job-ended`. */
async function changeJob(
  transaction: Transaction,
  lanes: LaneBook,
  id: string,
  changes: JobChanges,
  now: number,
  allowEnded: boolean,
): Promise<boolean> {
  const checked = checkedChanges(changes, now);
  const row = (await readRuns(transaction, [id])).get(id);
  if (row === undefined) return false;
  const hasEnded = isEnded(row.state);
  if (hasEnded && (!allowEnded || changes.attemptsLeft !== undefined)) throw new PeerworkError('job-ended', id);
  const [current] = await transaction.all<CurrentRow>(CURRENT, [row.seq]);
  const running = row.state === 'leased';
  if (running && (changes.channel !== undefined || changes.key !== undefined || changes.workgroup !== undefined))
    throw new PeerworkError('job-invalid', 'channel, key and workgroup of a job that runs cannot be changed');
  const columns = new Map<string, Value>();
  for (const { field, column, encode } of storedFields) if (checked.has(field)) columns.set(column, encode(checked.get(field)));
  const weight = changes.weight === undefined ? undefined : weightColumns(changes.weight);
  for (const [column, value] of Object.entries(weight ?? {})) columns.set(column, value);
  if (columns.has('run_at')) columns.set('dated_at', columns.get('run_at') ?? null);
  if (running || hasEnded) columns.delete('run_at');
  if (changes.channel !== undefined && current !== undefined)
    columns.set('lane', await lanes.seqOf(transaction, changes.channel, current.requires ?? ''));
  if (typeof changes.key === 'string') columns.set('plain', 0);
  if (changes.workgroup !== undefined) {
    const named = changes.workgroup === null ? undefined : await workgroupsNamed(transaction, [changes.workgroup]);
    columns.set('workgroup', named?.get(changes.workgroup ?? '') ?? null);
  }
  // What blocked it may no longer apply: the next claim decides again.
  if (!running && !hasEnded) columns.set('parked', null);
  if (changes.attemptsLeft !== undefined) columns.set('attempts_allowed', Math.max(1, row.attempts_made + changes.attemptsLeft));
  const sets = [...columns.keys()].map((column) => `${column} = ?`).join(', ');
  if (typeof changes.runAt === 'number' && !hasEnded) transaction.due(changes.runAt);
  if (columns.size > 0) await transaction.run(`UPDATE job SET ${sets} WHERE seq = ?`, [...columns.values(), row.seq]);
  if (weight !== undefined) transaction.weighed(row, row.state, weight);
  const moved = { ...row, ...(changes.channel !== undefined && { channel: changes.channel }), ...weight };
  if (moved.channel !== row.channel) {
    // With its new weight, which `weighed` has already counted.
    transaction.moved({ ...row, ...weight }, row.state, 'deleted');
    transaction.moved(moved, undefined, row.state);
  } else transaction.moved(moved, row.state, row.state);
  if (!running && !hasEnded && row.parked === 'twin') await releaseDuplicates(transaction, row);
  if (!running && changes.attemptsLeft === 0) await endRuns(transaction, [failWithoutRun(moved, lastError(current), now)], now);
  return true;
}

function lastError(current: CurrentRow | undefined): JobError {
  if (current?.error != null) return storedJson<JobError>(current.error);
  return { code: 'cancelled', message: describeError('cancelled') };
}

/** Maps each changed field to its stored value; undefined if the field is cleared. */
function checkedChanges({ attemptsLeft, ...fields }: JobChanges, now: number): ReadonlyMap<string, unknown> {
  if (attemptsLeft !== undefined) check(integer(0, MAX_ATTEMPTS), attemptsLeft, 'attemptsLeft');
  const checked = new Map<string, unknown>();
  for (const [field, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const { change } = jobFieldNames.includes(field as JobField) ? fieldSpec(field as JobField) : { change: undefined };
    if (change === undefined) throw new PeerworkError('job-invalid', `${field} cannot be changed`);
    checked.set(field, value === null && change === 'clear' ? undefined : checkJobField(field as JobField, value, now));
  }
  return checked;
}
