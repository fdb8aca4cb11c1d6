/** How well bubblewrap works on this machine. */
import { existsSync } from 'node:fs';
import { bwrapWords, countsInNamespace, type Manner } from './bwrap.js';
import { filterFile } from './filter-file.js';
import { inTrialRoom, trial } from './process-tier.js';
import { tryOut } from './tools.js';
import { findUids } from './uids.js';

interface BwrapWish {
  readonly bubblewrap: string;
  /** A folder like that of rooms. */
  readonly rooms: string;
}

/** The strongest manner that works here, found by trying. */
export async function findBwrap({ bubblewrap, rooms }: BwrapWish): Promise<{ readonly manner: Manner } | { readonly why: string }> {
  if (process.platform !== 'linux') return { why: 'Linux only' };
  if (!existsSync(bubblewrap)) return { why: 'not installed' };
  let why = '';
  for (const manner of manners()) {
    const fault = await inTrialRoom(rooms, (workdir) => {
      const words = bwrapWords({ bubblewrap, manner, limits: {} }, { workdir, readable: [import.meta.dirname], environment: {} });
      return tryOut([...words, process.execPath, '-e', trial(workdir)]);
    }).catch((error: Error) => error.message);
    if (fault === undefined) return { manner };
    why = fault;
  }
  return { why };
}

/** Strongest first. The last is what any bubblewrap can do that may make namespaces: what it says is why there is none. */
function manners(): Manner[] {
  const uids = findUids();
  const filter = filterFile();
  // Without the filter nothing would keep such a program from making user namespaces.
  const asRoot = uids === undefined || filter === undefined ? [] : [{ uids, lastUserNamespace: false, filter, countsProcesses: true }];
  const inNamespace: Manner[] = [];
  for (const opens of filter === undefined ? [undefined] : [filter, undefined]) {
    for (const countsProcesses of countsInNamespace ? [true, false] : [false]) {
      for (const lastUserNamespace of [true, false])
        inNamespace.push({ uids: undefined, lastUserNamespace, filter: opens, countsProcesses });
    }
  }
  return [...asRoot, ...inNamespace];
}
