import { idPath } from '../kit/id-path.js';
import type { WorkerRecord } from '../ledger/records.js';
import type { ServerEvent } from './api.js';
import { useQuery } from './live.js';
import { Action, act, count, duration, Problem } from './parts.js';

interface Connected {
  readonly path: string;
  readonly roundTripMs?: number;
  readonly version?: string;
  readonly platform?: string;
  readonly isolation?: string;
  readonly tier?: string;
  readonly concurrency?: number;
  readonly labels?: readonly string[];
  readonly running: number;
  readonly connectedAt: number;
  readonly traffic: { readonly sent: number; readonly received: number };
}

interface Row extends WorkerRecord {
  readonly connected?: Connected;
  readonly jobs?: readonly string[];
}

const isWorker = ({ name }: ServerEvent) => name === 'worker' || name === 'connected' || name === 'disconnected' || name === 'job';

export function Workers({ openJob }: { openJob: (id: string) => void }) {
  const { data, error, reload } = useQuery<{ workers: Row[] }>('v1/workers', isWorker, 2_000);
  const workers = [...(data?.workers ?? [])].sort(
    (a, b) => Number(b.connected !== undefined) - Number(a.connected !== undefined) || a.name.localeCompare(b.name),
  );
  const linked = workers.filter(({ connected }) => connected !== undefined);
  const run = async (id: string, verb: string) => {
    if (await act('POST', idPath('v1/workers', id, verb))) reload();
  };
  return (
    <section>
      <Problem error={error} />
      <p class="hint">
        {count(linked.length)} linked, {count(linked.filter(({ connected }) => connected?.path === 'relayed').length)} of them by a relay;{' '}
        {count(workers.length - linked.length)} others were met
      </p>
      <ul class="cards workers">
        {workers.map((worker) => (
          <li key={worker.id} class="card">
            <WorkerCard worker={worker} run={(verb) => run(worker.id, verb)} openJob={openJob} />
          </li>
        ))}
      </ul>
      {workers.length === 0 && <p class="hint">No workers yet. Set one up with the Master’s token: node worker.js --setup</p>}
    </section>
  );
}

function WorkerCard({ worker, run, openJob }: { worker: Row; run: (verb: string) => void; openJob: (id: string) => void }) {
  const { name, connected, jobs = [], approvedAt, revokedAt, drainedAt } = worker;
  return (
    <>
      <strong>{name}</strong>
      {connected === undefined ? <span class="tag">away</span> : <span class="tag good">{connected.path}</span>}
      {connected?.tier !== undefined && (
        <span class={connected.tier === 'process' ? 'tag bad' : 'tag good'}>
          {connected.tier === 'process' ? 'no wall' : connected.tier}
        </span>
      )}
      {revokedAt !== undefined && <span class="tag bad">revoked</span>}
      {drainedAt !== undefined && <span class="tag">drained</span>}
      {connected !== undefined && (
        <>
          <progress
            value={connected.running}
            max={Math.max(connected.concurrency ?? 1, connected.running)}
            aria-label={`Load of ${name}`}
          />
          <small>
            {connected.running} of {connected.concurrency ?? '?'} running ·{' '}
            {connected.roundTripMs === undefined ? '' : `${duration(connected.roundTripMs)} · `}
            {connected.platform} · peerwork {connected.version} · {connected.isolation}
          </small>
          {(connected.labels ?? []).length > 0 && <small>{connected.labels?.join(', ')}</small>}
        </>
      )}
      {jobs.length > 0 && (
        <small>
          runs{' '}
          {jobs.slice(0, 5).map((id) => (
            <button key={id} class="link" onClick={() => openJob(id)}>
              {id}
            </button>
          ))}
          {jobs.length > 5 ? ` and ${jobs.length - 5} more` : ''}
        </small>
      )}
      <div class="actions">
        {drainedAt === undefined ? <Action run={() => run('drain')}>Drain</Action> : <Action run={() => run('resume')}>Resume</Action>}
        {(approvedAt === undefined || revokedAt !== undefined) && <Action run={() => run('approve')}>Approve</Action>}
        {revokedAt === undefined && (
          <Action danger confirm={`Put ${name} out? Its link ends.`} run={() => run('revoke')}>
            Revoke
          </Action>
        )}
      </div>
    </>
  );
}
