import type { CheckedJob } from '../job/job-input.js';
import type { Value } from './driver.js';
import type { AddedJob } from './ledger.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';

const ADD = sized(
  (count) => `INSERT INTO job
  (seq, id, channel, state, priority, run_at, timeout_ms, attempts_allowed, backoff_ms, created_at, data)
  VALUES ${repeated("(?, ?, ?, 'ready', ?, ?, ?, ?, ?, ?, ?)", count)}
  ON CONFLICT DO NOTHING`,
);
const PRESENT = sized((count) => `SELECT seq FROM job WHERE seq IN (${repeated('?', count)})`);

export async function addJobs(
  transaction: Transaction,
  jobs: readonly CheckedJob[],
  now: number,
  random: () => number,
): Promise<AddedJob[]> {
  const firstSeq = await transaction.draw('job', jobs.length);
  const answers: AddedJob[] = [];
  for (const piece of pieces(jobs)) {
    const start = firstSeq + answers.length;
    const tuples = piece.map((job, index): readonly Value[] => {
      const seq = start + index;
      const id = job.id ?? madeUpId(seq, random);
      const runAt = job.delayMs > 0 ? now + job.delayMs : null;
      return [seq, id, job.channel, job.priority, runAt, job.timeoutMs ?? null, job.attempts, job.backoffMs, now, job.data];
    });
    const list = padded(tuples);
    const changed = await transaction.run(ADD(list.length), list.flat());
    const present = changed === piece.length ? undefined : await presentSeqs(transaction, list.map(seqOf));
    for (const [index, job] of piece.entries()) {
      const isNew = present?.has(start + index) ?? true;
      if (isNew) transaction.moved(job.channel, undefined, 'ready');
      answers.push({ id: tuples[index]?.[1] as string, added: isNew });
    }
  }
  return answers;
}

function seqOf(tuple: readonly Value[]): Value {
  return tuple[0] ?? null;
}

async function presentSeqs(transaction: Transaction, seqs: readonly Value[]): Promise<Set<number>> {
  const rows = await transaction.all<{ seq: number }>(PRESENT(seqs.length), seqs);
  return new Set(rows.map((row) => row.seq));
}

/** Sorts by age, which keeps the index of ids growing at its end; the random part keeps it apart from ids that users choose. */
function madeUpId(seq: number, random: () => number): string {
  return `${seq.toString(36).padStart(7, '0')}-${Math.floor(random() * 36 ** 6)
    .toString(36)
    .padStart(6, '0')}`;
}
