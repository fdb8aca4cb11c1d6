import { useEffect, useRef, useState } from 'preact/hooks';
import type { JobPage, JobState, JobSummary } from '../ledger/records.js';
import { type ApiError, get } from './api.js';
import { JobDetail } from './job-detail.js';
import { useEvents } from './live.js';
import { Action, act, count, duration, Problem, State, states, VirtualList, when } from './parts.js';
import { PushDialog } from './push-dialog.js';

const PAGE = 500;
const RELOAD_MS = 1_000;

interface Filter {
  readonly state: string;
  readonly channel: string;
  readonly group: string;
  readonly idPrefix: string;
}

const none: Filter = { state: '', channel: '', group: '', idPrefix: '' };

export function Jobs({ chosen, open }: { chosen: string | undefined; open: (id: string | undefined) => void }) {
  const [filter, setFilter] = useState(none);
  const [pushing, setPushing] = useState(false);
  const { jobs, more, error, loadMore } = useJobs(filter);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== '/' || /^(INPUT|TEXTAREA|SELECT)$/.test((event.target as Element).tagName)) return;
      event.preventDefault();
      box.current?.focus();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
  const set = (field: keyof Filter) => (event: Event) => setFilter({ ...filter, [field]: (event.target as HTMLInputElement).value });
  const failed = jobs.filter(({ state }) => state === 'failed').map(({ id }) => id);
  return (
    <section class={chosen === undefined ? 'split' : 'split open'}>
      <div class="side">
        <form class="filters" onSubmit={(event) => event.preventDefault()}>
          <label>
            Id begins with
            <input ref={box} value={filter.idPrefix} onInput={set('idPrefix')} placeholder="press /" />
          </label>
          <label>
            State
            <select value={filter.state} onChange={set('state')}>
              <option value="">all</option>
              {states.map((state) => (
                <option key={state}>{state}</option>
              ))}
            </select>
          </label>
          <label>
            Channel
            <input value={filter.channel} onInput={set('channel')} />
          </label>
          <label>
            Group
            <input value={filter.group} onInput={set('group')} />
          </label>
          <div class="actions">
            <button class="primary" onClick={() => setPushing(true)}>
              Push a job
            </button>
            <Action disabled={failed.length === 0} run={() => act('POST', 'v1/jobs/retry', { ids: failed.slice(0, 10_000) })}>
              Retry {count(failed.length)} failed
            </Action>
          </div>
        </form>
        <Problem error={error} />
        <p class="hint" aria-live="polite">
          {count(jobs.length)}
          {more ? '+' : ''} jobs, the newest first
        </p>
        <VirtualList
          items={jobs}
          keyOf={({ id }) => id}
          label="Jobs"
          rowHeight={44}
          chosen={chosen}
          onChoose={({ id }) => open(id)}
          onEnd={loadMore}
          row={(job) => <Row job={job} />}
        />
      </div>
      {chosen !== undefined && <JobDetail key={chosen} id={chosen} open={open} />}
      {pushing && <PushDialog onClose={() => setPushing(false)} onPushed={open} />}
    </section>
  );
}

function Row({ job }: { job: JobSummary }) {
  const { id, name, channel, state, waiting, group, worker, createdAt, startedAt, finishedAt, attempts } = job;
  const took = startedAt === undefined || finishedAt === undefined ? undefined : finishedAt - startedAt;
  return (
    <>
      <span class="main">
        <strong>{name ?? id}</strong>
        <small>
          {channel}
          {group === undefined ? '' : ` · ${group}`}
          {worker === undefined ? '' : ` · ${worker.name}`}
        </small>
      </span>
      <span class="end">
        <State state={state} text={waiting === undefined ? state : waiting.replace('-', ' ')} />
        <small>
          {took === undefined ? when(createdAt) : duration(took)}
          {attempts.made > 1 ? ` · ${attempts.made} of ${attempts.allowed}` : ''}
        </small>
      </span>
    </>
  );
}

/** The jobs that match a filter: the first page reloads when jobs are added, states change in place, further pages load on scrolling. */
function useJobs(filter: Filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== '')).toString();
  const [jobs, setJobs] = useState<readonly JobSummary[]>([]);
  const [next, setNext] = useState<string | undefined>();
  const [error, setError] = useState<ApiError | undefined>();
  const reading = useRef({ query, timer: undefined as ReturnType<typeof setTimeout> | undefined, loading: false, fresh: true });
  const page = (after?: string) =>
    get<JobPage>(`v1/jobs?${query}&limit=${PAGE}${after === undefined ? '' : `&after=${encodeURIComponent(after)}`}`);
  const fail = (thrown: unknown) => setError(thrown as ApiError);
  const readFirst = () =>
    page().then((first) => {
      if (reading.current.query !== query) return;
      setError(undefined);
      if (reading.current.fresh) {
        reading.current.fresh = false;
        setJobs(first.jobs);
        setNext(first.next);
        return;
      }
      setJobs((before) => {
        const known = new Set(first.jobs.map(({ id }) => id));
        const isLast = first.next === undefined;
        return isLast
          ? first.jobs
          : [...first.jobs, ...before.filter(({ id }) => !known.has(id)).slice(0, Math.max(0, before.length - PAGE))];
      });
      setNext((before) => (before !== undefined && jobs.length > PAGE ? before : first.next));
    }, fail);
  const latest = useRef(readFirst);
  latest.current = readFirst;
  useEffect(() => {
    reading.current.query = query;
    reading.current.fresh = true;
    const timer = setTimeout(() => void readFirst(), 150);
    return () => clearTimeout(timer);
  }, [query]);
  useEvents((batch) => {
    const changed = new Map<string, JobState | 'deleted'>();
    let unseen = false;
    for (const event of batch) {
      if (event.name === 'job') changed.set(event.data.id, event.data.state);
      if (event.name === 'gap' || event.name === 'jobs' || (event.name === 'job' && event.data.added === true)) unseen = true;
    }
    if (changed.size > 0)
      setJobs((before) =>
        before.flatMap((job) => {
          const state = changed.get(job.id);
          if (state === undefined) return [job];
          return state === 'deleted' ? [] : [{ ...job, state }];
        }),
      );
    if (unseen || changed.size > 0)
      reading.current.timer ??= setTimeout(() => {
        reading.current.timer = undefined;
        void latest.current();
      }, RELOAD_MS);
  });
  const loadMore = () => {
    if (next === undefined || reading.current.loading) return;
    reading.current.loading = true;
    page(next)
      .then((more) => {
        if (reading.current.query !== query) return;
        setJobs((before) => {
          const known = new Set(before.map(({ id }) => id));
          return [...before, ...more.jobs.filter(({ id }) => !known.has(id))];
        });
        setNext(more.next);
      }, fail)
      .finally(() => {
        reading.current.loading = false;
      });
  };
  return { jobs, more: next !== undefined, error, loadMore };
}
