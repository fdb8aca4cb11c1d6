import type { Command } from 'commander';
import { print, printJson } from '../client/print.js';
import { formatDuration } from '../figures.js';
import { readWorkerStatuses } from '../worker-status.js';
import { serviceOf } from './installed.js';

/** Prints the state of the service. Exit codes: 0 if it runs, 1 if it is installed but does not run, 3 if none is installed here. */
export async function status(command: Command): Promise<number> {
  const { record, keeper } = await serviceOf(command, 'status');
  const state = await keeper.state();
  const report = readWorkerStatuses(record.home).find(({ pid }) => pid === state.pid);
  if (command.opts()['json'] === true) {
    const { name, folder, home, dotenv, installedAt } = record;
    printJson({ service: name, keeper: keeper.kind, folder, home, dotenv, installedAt, ...state, worker: report ?? null });
    return state.running ? 0 : 1;
  }
  const restarts = state.restarts ? `, restarted ${state.restarts} ${state.restarts === 1 ? 'time' : 'times'}` : '';
  const lines = [
    `service    ${record.name}, ${keeper.description}`,
    `state      ${state.detail}${state.pid === undefined ? '' : `, pid ${state.pid}`}${restarts}`,
    `folder     ${record.folder}`,
  ];
  if (report !== undefined) {
    const { master, sources, warnings } = report;
    const served = sources.map((source) =>
      source !== 'master' ? source : master ? `Master ${master.name} (${master.path})` : 'Master not found yet',
    );
    lines.push(
      `worker     ${report.name}, peerwork ${report.version}, for ${formatDuration(Date.now() - report.startedAt)}`,
      `works for  ${served.join(', ')}`,
      `jobs       ${report.running} of ${report.concurrency} running, ${report.completed} completed, ${report.failed} failed, ${report.released} given back`,
      ...(report.outbox > 0 ? [`outbox     ${report.outbox} not delivered yet`] : []),
      `isolation  ${report.isolation || '…'}`,
      ...warnings.map(({ source, message, code }) => `warning    ${source}: ${message} [${code}]`),
    );
  }
  print(lines.join('\n'));
  return state.running ? 0 : 1;
}
