import { useEffect, useRef, useState } from 'preact/hooks';
import { fieldFacts } from '../job/field-facts.js';
import { idPath } from '../kit/id-path.js';
import type { HistoryEntry, JobRecord } from '../ledger/records.js';
import type { ServerEvent } from './api.js';
import { useEvents, useQuery } from './live.js';
import { Action, act, duration, Json, Problem, State, useEscape, when } from './parts.js';

/** Fields shown separately. */
const OWN = ['name', 'channel', 'priority'] as const;

/** One job: its input, output, log and dependencies, and the actions on it. */
export function JobDetail({ id, open }: { id: string; open: (id: string | undefined) => void }) {
  const path = idPath('v1/jobs', id);
  const isMine = (event: ServerEvent) => event.name === 'job' && event.data.id === id;
  const { data: job, error, reload } = useQuery<JobRecord>(path, isMine, 300);
  const { data: history } = useQuery<{ entries: HistoryEntry[] }>(idPath('v1/jobs', id, 'history'), isMine, 500);
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => close.current?.focus(), [job === undefined]);
  useEscape(() => open(undefined));
  const run = async (method: string, verb: string) => {
    if (await act(method, idPath('v1/jobs', id, verb))) reload();
  };
  if (job === undefined)
    return (
      <article class="detail">
        <Problem error={error} />
        <button ref={close} onClick={() => open(undefined)}>
          Close
        </button>
      </article>
    );
  const { state, settled } = job;
  const ended = settled !== undefined;
  const facts: readonly (readonly [string, unknown])[] = [
    ['Channel', job.channel],
    ...fieldFacts(job, job.parents.length > 0 ? OWN : [...OWN, 'parentFailure'], { instant: when, duration }),
    ['Merged with', job.mergedWith],
    ['Attempts', `${job.attempts.made} of ${job.attempts.allowed}`],
    ['Worker', job.worker?.name],
    ['Priority', job.priority],
    ['Added', when(job.createdAt)],
    ['Started', job.startedAt === undefined ? undefined : when(job.startedAt)],
    ['Ended', job.finishedAt === undefined ? undefined : when(job.finishedAt)],
    ['Took', job.startedAt === undefined || job.finishedAt === undefined ? undefined : duration(job.finishedAt - job.startedAt)],
  ];
  return (
    <article class="detail" aria-label={`Job ${job.name ?? id}`}>
      <header>
        <h2>{job.name ?? id}</h2>
        <State state={state} text={job.waiting?.replace('-', ' ')} />
        <button ref={close} onClick={() => open(undefined)}>
          Close
        </button>
      </header>
      {job.name !== undefined && <p class="hint">{id}</p>}
      <div class="actions">
        <Action disabled={ended} run={() => run('POST', 'cancel')}>
          Cancel
        </Action>
        <Action disabled={state !== 'failed' && state !== 'cancelled'} run={() => run('POST', 'retry')}>
          Retry
        </Action>
        <Action
          danger
          confirm={`Forget ${id} and all that descends from it?`}
          run={async () => {
            if (await act('DELETE', path)) open(undefined);
          }}
        >
          Delete
        </Action>
      </div>
      {job.error !== undefined && (
        <p class="problem">
          <strong>{job.error.code}</strong> {job.error.message}
        </p>
      )}
      {job.error?.cause !== undefined && (
        <details>
          <summary>Error details</summary>
          <Json value={job.error.cause} />
        </details>
      )}
      <dl>
        {facts.map(([name, value]) =>
          value === undefined ? null : (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{String(value)}</dd>
            </div>
          ),
        )}
      </dl>
      <Links title="Parents" ids={job.parents} open={open} />
      <Links title="Children" ids={job.children} open={open} />
      <h3>Input</h3>
      <Json value={job.data} />
      {settled?.output !== undefined && (
        <>
          <h3>Output</h3>
          <Json value={settled.output} />
        </>
      )}
      <RunLog id={id} entries={history?.entries ?? []} />
    </article>
  );
}

function Links({ title, ids, open }: { title: string; ids: readonly string[]; open: (id: string) => void }) {
  if (ids.length === 0) return null;
  return (
    <p>
      <strong>{title}</strong>{' '}
      {ids.slice(0, 50).map((id) => (
        <button key={id} class="link" onClick={() => open(id)}>
          {id}
        </button>
      ))}
      {ids.length > 50 ? ` and ${ids.length - 50} more` : ''}
    </p>
  );
}

/** Log, progress and errors: the stored ones, and those that arrive live. */
function RunLog({ id, entries }: { id: string; entries: readonly HistoryEntry[] }) {
  const [live, setLive] = useState<readonly string[]>([]);
  const [progress, setProgress] = useState<unknown>();
  const end = useRef<HTMLPreElement>(null);
  useEffect(() => setLive([]), [entries.length]);
  useEvents((batch) => {
    const lines: string[] = [];
    for (const event of batch) {
      if (event.name !== 'progress' || event.data.id !== id) continue;
      const { progress: update } = event.data;
      if (update.kind === 'progress') setProgress(update.value);
      else lines.push(`${when(Date.now())}  ${update.line}`);
    }
    if (lines.length > 0) setLive((before) => [...before, ...lines].slice(-500));
  });
  const kept = entries.map((entry) => `${when(entry.at)}  ${entryText(entry)}`);
  useEffect(() => {
    if (end.current !== null) end.current.scrollTop = end.current.scrollHeight;
  });
  const latest = progress ?? entries.findLast(({ kind }) => kind === 'progress')?.body;
  if (kept.length === 0 && live.length === 0 && latest === undefined) return null;
  return (
    <>
      <h3>Log</h3>
      {typeof latest === 'number' && <progress value={latest} max={1} aria-label="Progress" />}
      <pre class="log" ref={end}>
        {[...kept, ...live].join('\n')}
      </pre>
    </>
  );
}

function entryText({ kind, body }: HistoryEntry): string {
  if (kind === 'progress') return `progress ${JSON.stringify(body)}`;
  const { line, code, message } = body as { line?: string; code?: string; message?: string };
  return kind === 'error' ? `failed: ${code} ${message}` : (line ?? JSON.stringify(body));
}
