import { useEffect } from 'preact/hooks';
import type { ChannelRecord, JobCounts } from '../ledger/records.js';
import type { Series } from '../master/http/series.js';
import { useQuery } from './live.js';
import { count, duration, Problem, State, states } from './parts.js';
import { Plot } from './plot.js';

interface Stats {
  readonly counts: JobCounts;
  readonly workers: { readonly connected: number };
  readonly series: Series;
}

const STEP_MS = 5_000;

export function Overview() {
  const { data, error, reload } = useQuery<Stats>('v1/stats', ({ name }) => name === 'job', 2_000);
  const { data: channels } = useQuery<{ channels: ChannelRecord[] }>('v1/channels', ({ name }) => name === 'job', 2_000);
  useEffect(() => {
    // The chart moves on even if nothing happens.
    const timer = setInterval(reload, STEP_MS);
    return () => clearInterval(timer);
  }, []);
  if (data === undefined) return <Problem error={error} />;
  const { counts, workers, series } = data;
  const perSecond = (values: readonly number[]) => values.map((value) => value / (series.stepMs / 1_000));
  const rate = (value: number) => `${value >= 100 ? count(Math.round(value)) : value.toFixed(1)}/s`;
  return (
    <section>
      <Problem error={error} />
      <ul class="tiles">
        {states.map((state) => (
          <li key={state}>
            <b>{count(counts[state])}</b>
            <State state={state} />
          </li>
        ))}
        <li>
          <b>{count(workers.connected)}</b>
          <span>workers linked</span>
        </li>
      </ul>
      <div class="plots">
        <Plot
          title="Throughput"
          at={series.at}
          unit={rate}
          lines={[
            { name: 'completed', values: perSecond(series.completed) },
            { name: 'failed', values: perSecond(series.failed) },
            { name: 'added', values: perSecond(series.added), dashed: true },
          ]}
        />
        <Plot
          title="Waiting for a worker"
          at={series.at}
          unit={duration}
          lines={[
            { name: 'half within', values: series.waitP50Ms },
            { name: '95 % within', values: series.waitP95Ms, dashed: true },
          ]}
        />
        <Plot
          title="Running"
          at={series.at}
          unit={duration}
          lines={[
            { name: 'half within', values: series.runP50Ms },
            { name: '95 % within', values: series.runP95Ms, dashed: true },
          ]}
        />
      </div>
      <h2>Channels</h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>Channel</th>
              {states.map((state) => (
                <th key={state}>{state}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {(channels?.channels ?? []).map((channel) => (
              <tr key={channel.name}>
                <th scope="row">{channel.name}</th>
                {states.map((state) => (
                  <td key={state}>{count(channel.counts[state])}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
