/**
 * Closes what Node's permission model leaves open, before any task code is loaded. The model refuses modules, files and programs; these
 * are ways found around it, none of which a task needs. Others are closed by flags (child-command.ts). That does not make it a wall: an
 * exploit of Node has all rights of this process. Every module loaded here adds about 0.5 ms to each start.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import v8 from 'node:v8';
import { defineProperty, getOwnPropertyDescriptor } from './primordials.js';

const { pid: ownPid } = process;

export function seal(): void {
  // Signals that open the inspector of a Node process, replacing this process by another program, and modules linked into Node.
  const closed = { value: undefined, writable: false, configurable: false };
  defineProperty(process, '_debugProcess', closed);
  defineProperty(process, '_debugEnd', closed);
  defineProperty(process, 'execve', closed);
  defineProperty(process, '_linkedBinding', closed);
  defineProperty(process, 'report', { get: readOnlyReport(), configurable: false });
  // Frozen by --freeze-flags-after-init: a call would end the process.
  v8.setFlagsFromString = refused('v8.setFlagsFromString');
  v8.setHeapSnapshotNearHeapLimit = refused('v8.setHeapSnapshotNearHeapLimit');
  os.setPriority = restrictedToSelf(os.setPriority);
  syncBuiltinESMExports();
}

/**
 * Exposes only the reading half: the writing one takes its folder from a member that nobody validates (Node 20). Libraries that detect
 * musl need the reading half, which is created on first access.
 */
function readOnlyReport(): () => Readonly<Pick<NodeJS.ProcessReport, 'getReport'>> | undefined {
  const { get, value } = getOwnPropertyDescriptor(process, 'report') ?? {};
  let shown: Readonly<Pick<NodeJS.ProcessReport, 'getReport'>> | undefined;
  return () => {
    if (shown !== undefined) return shown;
    const report: NodeJS.ProcessReport | undefined = get === undefined ? value : Reflect.apply(get, process, []);
    if (report === undefined) return undefined;
    const getReport = report.getReport.bind(report);
    shown = { getReport: (error?: Error) => getReport(error) };
    return shown;
  };
}

function refused(name: string): () => never {
  return () => {
    throw Object.assign(new Error(`${name} is not for jobs`), { code: 'ERR_ACCESS_DENIED' });
  };
}

/** Protects the priority of the Worker and of other processes of the same user. */
function restrictedToSelf(setPriority: typeof os.setPriority): typeof os.setPriority {
  return (pid: number, priority?: number) => {
    if (priority === undefined) return setPriority(pid);
    if (pid !== 0 && pid !== ownPid) return refused('os.setPriority of others')();
    return setPriority(pid, priority);
  };
}
