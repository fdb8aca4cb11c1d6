/**
 * Shuts what Node's permission model leaves open, before any task code is loaded. The model refuses modules, files and programs;
 * these are ways found around it, none of which a task needs. Others are shut by flags (child-command.ts). It makes no wall of it: what has a hole in Node
 * has all rights of this process. What is loaded here is paid for by every start, about 0.5 ms a module.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import v8 from 'node:v8';
import { defineProperty, getOwnPropertyDescriptor } from './primordials.js';

const { pid: ownPid } = process;

export function seal(): void {
  // Signals that make Node processes listen, programs in place of this one, and modules that were linked into Node.
  const shut = { value: undefined, writable: false, configurable: false };
  defineProperty(process, '_debugProcess', shut);
  defineProperty(process, '_debugEnd', shut);
  defineProperty(process, 'execve', shut);
  defineProperty(process, '_linkedBinding', shut);
  defineProperty(process, 'report', { get: readOnlyReport(), configurable: false });
  // Frozen by --freeze-flags-after-init: a call would end the process.
  v8.setFlagsFromString = refused('v8.setFlagsFromString');
  v8.setHeapSnapshotNearHeapLimit = refused('v8.setHeapSnapshotNearHeapLimit');
  os.setPriority = ofOneself(os.setPriority);
  syncBuiltinESMExports();
}

/**
 * The writing half takes its folder from a member that nobody checks (Node 20). Libraries that look for musl need the other half, which is made
 * when it is asked for.
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

/** The Worker, and whatever else its user runs, keep their priority. */
function ofOneself(setPriority: typeof os.setPriority): typeof os.setPriority {
  return (pid: number, priority?: number) => {
    if (priority === undefined) return setPriority(pid);
    if (pid !== 0 && pid !== ownPid) return refused('os.setPriority of others')();
    return setPriority(pid, priority);
  };
}
