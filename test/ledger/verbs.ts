import type { ChildInput, Json, Progress } from '../../src/job/job.js';
import type { Settlement } from '../../src/job/verbs.js';
import type { LeasedJob, Ledger, WorkerRef } from '../../src/ledger/ledger.js';

/** Shorthands for what workers do, for tests of the consequences. */

export const NOW = 1_700_000_000_000;
export const LEASE_MS = 30_000;
export const ann: WorkerRef = { id: 'key-ann', name: 'ann' };
export const ben: WorkerRef = { id: 'key-ben', name: 'ben' };

export interface ClaimWishes {
  readonly worker?: WorkerRef;
  readonly limit?: number;
  readonly now?: number;
  readonly channels?: readonly string[];
  readonly labels?: readonly string[];
}

export function claim(
  ledger: Ledger,
  { worker = ann, limit = 100, now = NOW, channels = ['default'], labels = [] }: ClaimWishes = {},
): Promise<LeasedJob[]> {
  return ledger.claim({ worker, channels, labels, limit, until: now + LEASE_MS }, now);
}

/** Claims one job; throws if there is none. */
export async function claimOne(ledger: Ledger, wishes: ClaimWishes = {}): Promise<LeasedJob> {
  const jobs = await claim(ledger, { ...wishes, limit: 1 });
  if (jobs[0] === undefined) throw new Error('there is nothing to claim');
  return jobs[0];
}

/** Claims jobs and returns their ids, in order. */
export async function claimIds(ledger: Ledger, wishes: ClaimWishes = {}): Promise<string> {
  return ids(await claim(ledger, wishes));
}

export function ids(jobs: readonly { readonly id: string }[]): string {
  return jobs.map(({ id }) => id).join(' ');
}

type More = { readonly children?: readonly ChildInput[]; readonly childrenDelayMs?: number; readonly holdMs?: number };

export function completed({ id, lease }: { id: string; lease: number }, output: Json = null, more: More = {}): Settlement {
  return { id, lease, outcome: { state: 'completed', output, ...more }, startedAt: NOW, finishedAt: NOW };
}

export function failed(
  { id, lease }: { id: string; lease: number },
  { retry = true, holdMs, output }: { retry?: boolean; holdMs?: number; output?: Json } = {},
): Settlement {
  const error = { code: 'task-threw', message: 'no' };
  const outcome = { state: 'failed', error, retry, holdMs, ...(output !== undefined && { output }) } as const;
  return { id, lease, outcome, startedAt: NOW, finishedAt: NOW };
}

export function said(line: string): Progress {
  return { kind: 'log', stream: 'stdout', line };
}

export function released({ id, lease }: { id: string; lease: number }): Settlement {
  return { id, lease, outcome: { state: 'released', reason: 'stop' }, startedAt: NOW, finishedAt: NOW };
}

/** Claims and completes ready jobs until there are none. Returns the ids in claim order, one entry per round. */
export async function runAll(ledger: Ledger, wishes: ClaimWishes = {}): Promise<string[]> {
  const rounds: string[] = [];
  for (;;) {
    const jobs = await claim(ledger, wishes);
    if (jobs.length === 0) return rounds;
    rounds.push(ids(jobs));
    await ledger.settle(
      wishes.worker ?? ann,
      jobs.map((job) => completed(job, { by: job.id })),
      wishes.now ?? NOW,
    );
  }
}

export async function stateOf(ledger: Ledger, id: string): Promise<string | undefined> {
  return (await ledger.get(id))?.state;
}
