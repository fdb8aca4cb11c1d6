import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pause, systemClock } from '../../clock.js';
import { type KeptLog, listRunLogs, readRunLog } from '../../containers/run-logs.js';
import { PeerworkError } from '../../errors.js';
import { instant, print, printJson, printTable } from '../client/print.js';
import { abortedBySignals } from '../stop.js';
import { tailLog } from './log-tail.js';

const POLL_INTERVAL_MS = 300;
/** More than is ever kept of one run. */
const ALL_LINES = 10_000_000;

/** Returns what the Workers of a home have kept, the oldest first. */
async function keptLogs(root: string): Promise<KeptLog[]> {
  const namesIn = (folder: string) => readdir(folder).catch(() => []);
  const found: KeptLog[] = [];
  for (const worker of await namesIn(join(root, 'workers'))) {
    const runners = join(root, 'workers', worker, 'runners');
    for (const kind of await namesIn(runners)) found.push(...(await listRunLogs(join(runners, kind, 'logs'))));
  }
  return found.sort((a, b) => a.startedAt - b.startedAt);
}

/** Lists the kept logs. Without any it rejects with `service-missing`, unless the user explicitly `asked` for the list. */
export async function printRuns(root: string, { json, asked }: { json: boolean; asked: boolean }): Promise<number> {
  const logs = await keptLogs(root);
  if (logs.length === 0 && !asked) throw new PeerworkError('service-missing', `${root} knows none, and keeps no output of containers`);
  if (json) for (const { path: _, ...facts } of logs) printJson(facts);
  else
    printTable(
      ['run', 'kind', 'attempt', 'began', 'ended'],
      logs.map(({ run, kind, attempt, startedAt, ended }) => [run, kind, String(attempt), instant(startedAt), ended ?? 'it goes on']),
    );
  return 0;
}

/** Prints the newest attempt of a run. Rejects with `run-log-missing` or `run-log-ambiguous`. */
export async function printRun(
  root: string,
  wanted: string,
  { lines = ALL_LINES, follow }: { lines?: number; follow: boolean },
): Promise<number> {
  const log = choose(await keptLogs(root), wanted);
  const ending = abortedBySignals();
  if (follow && log.endedAt === undefined) void untilEnded(log.path, ending);
  const goesOn = follow && log.endedAt === undefined;
  const write = (text: string) => void process.stdout.write(text);
  await tailLog({ file: `${log.path}.log`, lines, follow: goesOn, signal: ending.signal, clock: systemClock, write });
  const { ended } = (await readRunLog(log.path)) ?? log;
  if (ended !== undefined) print(`(ended: ${ended})`);
  return 0;
}

function choose(logs: readonly KeptLog[], wanted: string): KeptLog {
  const exact = logs.filter(({ run }) => run === wanted);
  const matching = exact.length > 0 ? exact : logs.filter(({ run }) => run.startsWith(wanted));
  const ids = [...new Set(matching.map(({ run }) => run))];
  if (ids.length > 1) throw new PeerworkError('run-log-ambiguous', `${wanted} is the beginning of ${ids.slice(0, 5).join(', ')}`);
  const newest = matching.at(-1);
  if (newest === undefined) throw new PeerworkError('run-log-missing', wanted);
  return newest;
}

/** Aborts when the run has ended: its last output is on disk before its end is recorded. */
async function untilEnded(path: string, ending: AbortController): Promise<void> {
  while (!ending.signal.aborted) {
    const facts = await readRunLog(path);
    if (facts === undefined || facts.endedAt !== undefined) return ending.abort();
    await pause(systemClock, POLL_INTERVAL_MS, ending.signal);
  }
}
