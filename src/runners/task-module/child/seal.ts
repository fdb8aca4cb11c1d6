/**
 * Shuts what Node's permission model leaves open, before any task code is loaded. The model refuses modules, files and programs;
 * these are the ways found around it, none of which a task needs. It makes no wall of it: what has a hole in Node has all rights of this process.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import tracing from 'node:trace_events';
import v8 from 'node:v8';

/** Not imported from node:process: its facade reads every member, and `process.stdout`, once made, leaves the pipe non-blocking. */
const { pid: ownPid } = process;

export function seal(): void {
  // Signals that make Node processes listen, programs in place of this one, and modules that were linked into Node.
  for (const name of ['_debugProcess', '_debugEnd', 'execve', '_linkedBinding']) remove(name);
  const { report } = process;
  // The writing half takes its folder from a member that nobody checks (Node 20). Libraries that look for musl need the other half.
  const readOnly = Object.freeze({ getReport: (error?: Error) => report?.getReport(error), excludeNetwork: true });
  Object.defineProperty(process, 'report', { value: readOnly, writable: false, configurable: false });
  // Frozen by --freeze-flags-after-init: a call would end the process.
  v8.setFlagsFromString = refused('v8.setFlagsFromString');
  // Both write files by themselves, later.
  v8.setHeapSnapshotNearHeapLimit = refused('v8.setHeapSnapshotNearHeapLimit');
  tracing.createTracing = refused('trace_events.createTracing');
  os.setPriority = ofOneself(os.setPriority);
  syncBuiltinESMExports();
}

function remove(name: string): void {
  Object.defineProperty(process, name, { value: undefined, writable: false, configurable: false });
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
