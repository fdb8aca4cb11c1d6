import { useState } from 'preact/hooks';
import { idPath } from '../kit/id-path.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import type { ScheduleRecord, WorkgroupRecord } from '../ledger/records.js';
import { useQuery } from './live.js';
import { Action, act, Problem, when } from './parts.js';

/** Holds and limits of workgroups, and schedules. */
export function Limits() {
  return (
    <section class="columns">
      <Workgroups />
      <Schedules />
    </section>
  );
}

function Workgroups() {
  const { data, error, reload } = useQuery<{ workgroups: WorkgroupRecord[] }>(
    'v1/workgroups?limit=500',
    ({ name }) => name === 'workgroup' || name === 'job',
  );
  const [id, setId] = useState('');
  const run = async (method: string, id: string, verb?: string, body?: unknown) => {
    if (await act(method, idPath('v1/workgroups', id, verb), body)) reload();
  };
  const now = Date.now();
  return (
    <div>
      <h2>Workgroups</h2>
      <Problem error={error} />
      <ul class="cards">
        {(data?.workgroups ?? []).map((group) => {
          const held = group.heldUntil !== undefined && group.heldUntil > now;
          return (
            <li key={group.id} class="card">
              <strong>{group.id}</strong>
              {held && <span class="tag bad">held until {when(group.heldUntil)}</span>}
              <small>
                {group.running}
                {group.maxRunning === undefined ? '' : ` of ${group.maxRunning}`} running
                {group.rate === undefined ? '' : ` · ${group.rate} starts in ${(group.periodMs ?? 0) / 1_000} s`}
              </small>
              <div class="actions">
                <Action run={() => run('POST', group.id, 'hold', { ms: 60_000 })}>Hold for a minute</Action>
                {held && <Action run={() => run('POST', group.id, 'release')}>Release</Action>}
                <Action
                  run={() => {
                    const text = window.prompt('Jobs at once? Leave empty for no limit.', String(group.maxRunning ?? ''));
                    if (text !== null) return run('PUT', group.id, undefined, { maxRunning: text.trim() === '' ? null : Number(text) });
                  }}
                >
                  Limit
                </Action>
              </div>
            </li>
          );
        })}
      </ul>
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault();
          if (id !== '') void run('PUT', id, undefined, {});
          setId('');
        }}
      >
        <label>
          New workgroup
          <input value={id} onInput={(event) => setId((event.target as HTMLInputElement).value)} />
        </label>
        <button>Make</button>
      </form>
    </div>
  );
}

const empty = { id: '', cron: '0 * * * *', timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone, job: '{"data": {}}' };

function Schedules() {
  const { data, error, reload } = useQuery<{ schedules: ScheduleRecord[] }>('v1/schedules', ({ name }) => name === 'schedule');
  const [form, setForm] = useState(empty);
  const run = async (method: string, id: string, verb?: string, body?: unknown) => {
    const done = await act(method, idPath('v1/schedules', id, verb), body);
    if (done) reload();
    return done;
  };
  const set = (field: keyof typeof empty) => (event: Event) => setForm({ ...form, [field]: (event.target as HTMLInputElement).value });
  return (
    <div>
      <h2>Schedules</h2>
      <Problem error={error} />
      <ul class="cards">
        {(data?.schedules ?? []).map(({ id, cron, timeZone, paused, nextAt, lastAt }) => (
          <li key={id} class="card">
            <strong>{id}</strong> {paused && <span class="tag">paused</span>}
            <small>
              {cron} · {timeZone} · next {when(nextAt)} · last {when(lastAt)}
            </small>
            <div class="actions">
              <Action run={() => run('POST', id, paused ? 'resume' : 'pause')}>{paused ? 'Resume' : 'Pause'}</Action>
              <Action danger confirm={`Delete the schedule ${id}?`} run={() => run('DELETE', id)}>
                Delete
              </Action>
            </div>
          </li>
        ))}
      </ul>
      <form
        class="filters"
        onSubmit={async (event) => {
          event.preventDefault();
          const { id, cron, timeZone, job } = form;
          if (await run('PUT', id, undefined, { cron, timeZone, job: parseJson(job, { ...LOCAL_JSON, exact: true }) })) setForm(empty);
        }}
      >
        <label>
          Id
          <input required value={form.id} onInput={set('id')} />
        </label>
        <label>
          Cron
          <input value={form.cron} onInput={set('cron')} />
        </label>
        <label>
          Time zone
          <input value={form.timeZone} onInput={set('timeZone')} />
        </label>
        <label>
          Job
          <input value={form.job} onInput={set('job')} />
        </label>
        <button>Make</button>
      </form>
    </div>
  );
}
