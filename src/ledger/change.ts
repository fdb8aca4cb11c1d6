import { describeError, PeerworkError } from '../errors.js';
import type { JobError } from '../job/job.js';
import { checkJobInput, integer } from '../job/job-input.js';
import { MAX_ATTEMPTS } from '../job/limits.js';
import type { Value } from './driver.js';
import { endRuns } from './end-runs.js';
import { isEnded } from './job-row.js';
import type { LaneBook } from './lane-book.js';
import type { JobChanges } from './ledger.js';
import { readRuns } from './read-runs.js';
import { workgroupsNamed } from './rows-by-name.js';
import { endUntried } from './run-end.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';
import { letTwinsOut } from './twins.js';

const PRESENT = 'SELECT channel, requires, merge_key, error FROM job WHERE seq = ?';

interface Present {
  readonly channel: string;
  readonly requires: string | null;
  readonly merge_key: string | null;
  readonly error: string | null;
}

/** Columns that a change of this field sets, besides those that need a look at other rows. */
const simple: { readonly [F in keyof JobChanges]?: string } = {
  name: 'name',
  data: 'data',
  priority: 'priority',
  runAt: 'run_at',
  backoffMs: 'backoff_ms',
  weight: 'weight',
  meta: 'meta',
};

/** Answers whether there is such a job. Throws `job-invalid` or `job-ended`. */
export async function changeJob(transaction: Transaction, lanes: LaneBook, id: string, changes: JobChanges, now: number): Promise<boolean> {
  const checked = checkedChanges(changes, now);
  const row = (await readRuns(transaction, [id])).get(id);
  if (row === undefined) return false;
  if (isEnded(row.state)) throw new PeerworkError('job-ended', id);
  const [present] = await transaction.all<Present>(PRESENT, [row.seq]);
  const running = row.state === 'leased';
  if (running && (changes.channel !== undefined || changes.key !== undefined || changes.workgroup !== undefined))
    throw new PeerworkError('job-invalid', 'channel, key and workgroup of a job that runs cannot be changed');
  const columns = new Map<string, Value>();
  for (const [field, column] of Object.entries(simple)) {
    const value = checked[field as keyof typeof checked];
    if (value !== undefined) columns.set(column, value as Value);
  }
  if (changes.backoff !== undefined) columns.set('backoff_fixed', changes.backoff === 'fixed' ? 1 : 0);
  if (changes.seed !== undefined) columns.set('seed', changes.seed ? 1 : 0);
  if (columns.has('run_at')) columns.set('dated_at', columns.get('run_at') ?? null);
  if (running) columns.delete('run_at');
  if (changes.channel !== undefined && present !== undefined) {
    columns.set('channel', changes.channel);
    columns.set('lane', await lanes.seqOf(transaction, changes.channel, present.requires ?? ''));
  }
  if (changes.key !== undefined) columns.set('merge_key', changes.key);
  if (typeof changes.key === 'string') columns.set('plain', 0);
  if (changes.workgroup !== undefined) {
    const named = changes.workgroup === null ? undefined : await workgroupsNamed(transaction, [changes.workgroup]);
    columns.set('workgroup', named?.get(changes.workgroup ?? '') ?? null);
  }
  // Whatever kept it from starting may have nothing to do with it any more: the next claim sees.
  if (!running) columns.set('parked', null);
  if (changes.attemptsLeft !== undefined) columns.set('attempts_allowed', Math.max(1, row.attempts_made + changes.attemptsLeft));
  const sets = [...columns.keys()].map((column) => `${column} = ?`).join(', ');
  if (typeof checked.runAt === 'number') transaction.due(checked.runAt);
  if (columns.size > 0) await transaction.run(`UPDATE job SET ${sets} WHERE seq = ?`, [...columns.values(), row.seq]);
  if (changes.weight !== undefined) transaction.weighed(row, row.state, changes.weight - row.weight);
  const moved = { ...row, ...(changes.channel !== undefined && { channel: changes.channel }), weight: changes.weight ?? row.weight };
  if (moved.channel !== row.channel) {
    transaction.moved(row, row.state, 'deleted');
    transaction.moved(moved, undefined, row.state);
  } else transaction.moved(moved, row.state, row.state);
  if (!running && row.parked === 'twin') await letTwinsOut(transaction, row);
  if (!running && changes.attemptsLeft === 0) await endRuns(transaction, [endUntried(moved, lastError(present), now)], now);
  return true;
}

function lastError(present: Present | undefined): JobError {
  if (present?.error != null) return storedJson<JobError>(present.error);
  return { code: 'cancelled', message: describeError('cancelled') };
}

/** The changes as values of their columns. */
function checkedChanges(changes: JobChanges, now: number) {
  const { attemptsLeft, ...fields } = changes;
  integer(attemptsLeft, 'attemptsLeft', 0, MAX_ATTEMPTS);
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  const present = Object.fromEntries(given.filter(([field, value]) => value !== null || field === 'data' || field === 'meta'));
  const unknown = given.find(([field]) => !(field in simple) && !['channel', 'key', 'workgroup', 'backoff', 'seed'].includes(field));
  if (unknown !== undefined) throw new PeerworkError('job-invalid', `${unknown[0]} cannot be changed`);
  const job = checkJobInput({ data: null, ...present }, now);
  const orNull = <T>(field: 'name' | 'runAt', value: T | undefined) => (fields[field] === null ? null : value);
  return {
    name: orNull('name', job.name),
    runAt: orNull('runAt', job.runAt),
    data: fields.data === undefined ? undefined : job.data,
    priority: fields.priority,
    backoffMs: fields.backoffMs,
    weight: fields.weight,
    meta: fields.meta === null ? null : job.meta,
  };
}
