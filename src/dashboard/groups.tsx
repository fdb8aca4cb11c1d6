import { useRef, useState } from 'preact/hooks';
import { idPath } from '../kit/id-path.js';
import type { GroupGraph, GroupRecord, JobState } from '../ledger/records.js';
import type { ServerEvent } from './api.js';
import { Graph } from './graph.js';
import { useEvents, useQuery } from './live.js';
import { Action, act, count, Problem, State, states, useEscape } from './parts.js';

const isGroup = ({ name }: ServerEvent) => name === 'group' || name === 'job' || name === 'jobs';

export function Groups({
  chosen,
  open,
  openJob,
}: {
  chosen: string | undefined;
  open: (id: string | undefined) => void;
  openJob: (id: string) => void;
}) {
  const { data, error } = useQuery<{ groups: GroupRecord[] }>('v1/groups?limit=500', isGroup);
  const groups = [...(data?.groups ?? [])].sort((a, b) => b.createdAt - a.createdAt);
  return (
    <section class={chosen === undefined ? 'split' : 'split open wide'}>
      <div class="side">
        <Problem error={error} />
        <ul class="cards">
          {groups.map((group) => (
            <li key={group.id}>
              <button class={`card${group.id === chosen ? ' chosen' : ''}`} onClick={() => open(group.id)}>
                <strong>{group.name}</strong>
                {group.paused && <span class="tag">paused</span>}
                <progress value={group.progress} max={1} aria-label={`Progress of ${group.name}`} />
                <small>
                  {Math.floor(group.progress * 100)} % · {count(Object.values(group.counts).reduce((sum, jobs) => sum + jobs, 0))} jobs
                </small>
              </button>
            </li>
          ))}
        </ul>
        {groups.length === 0 && <p class="hint">No groups yet. Push a job with “group” to create one.</p>}
      </div>
      {chosen !== undefined && <GroupDetail key={chosen} id={chosen} close={() => open(undefined)} openJob={openJob} />}
    </section>
  );
}

function GroupDetail({ id, close, openJob }: { id: string; close: () => void; openJob: (id: string) => void }) {
  const path = idPath('v1/groups', id);
  const isMine = (event: ServerEvent) =>
    (event.name === 'group' && event.data.id === id) || (event.name === 'job' && event.data.group === id) || event.name === 'jobs';
  const isNew = (event: ServerEvent) =>
    event.name === 'jobs' ||
    (event.name === 'job' && event.data.group === id && (event.data.added === true || event.data.state === 'deleted'));
  const { data: group, error, reload } = useQuery<GroupRecord>(path, isMine, 500);
  const { data: graph } = useQuery<GroupGraph>(idPath('v1/groups', id, 'graph'), isNew, 2_000);
  const live = useRef(new Map<string, JobState>());
  const [, repaint] = useState(0);
  useEvents((batch) => {
    let changed = false;
    for (const event of batch)
      if (event.name === 'job' && event.data.group === id) {
        const { id: job, state } = event.data;
        if (state === 'deleted') live.current.delete(job);
        else live.current.set(job, state);
        changed = true;
      }
    if (changed) repaint((times) => times + 1);
  });
  useEscape(close);
  const run = async (verb: string) => {
    if (await act('POST', idPath('v1/groups', id, verb))) reload();
  };
  return (
    <article class="detail" aria-label={`Group ${id}`}>
      <header>
        <h2>{group?.name ?? id}</h2>
        <button onClick={close}>Close</button>
      </header>
      <Problem error={error} />
      {group !== undefined && (
        <>
          <progress value={group.progress} max={1} aria-label="Progress" />
          <p class="states">
            {states.map((state) =>
              group.counts[state] === 0 ? null : <State key={state} state={state} text={`${count(group.counts[state])} ${state}`} />,
            )}
          </p>
          <div class="actions">
            <Action run={() => run(group.paused ? 'resume' : 'pause')}>{group.paused ? 'Resume' : 'Pause'}</Action>
            <Action disabled={group.counts.failed === 0} run={() => run('retry')}>
              Retry failed
            </Action>
            <Action confirm="Cancel all unfinished jobs?" run={() => run('cancel')}>
              Cancel
            </Action>
            <Action danger confirm="Reset? Outputs are lost; with seeds, all other jobs are deleted." run={() => run('reset')}>
              Reset
            </Action>
            <Action
              danger
              confirm={`Delete ${group.name} with all its jobs?`}
              run={async () => {
                if (await act('DELETE', path)) close();
              }}
            >
              Delete
            </Action>
          </div>
        </>
      )}
      {graph !== undefined && graph.nodes.length > 0 && (
        <Graph graph={graph} stateOf={(job, known) => live.current.get(job) ?? known} onChoose={openJob} />
      )}
    </article>
  );
}
