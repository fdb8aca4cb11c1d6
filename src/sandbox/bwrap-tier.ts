/** How well bubblewrap works on this machine. */
import { existsSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bwrapWords, countsInNamespace, type Manner } from './bwrap.js';
import { openFilter } from './filter-file.js';
import { trial } from './process-tier.js';
import { tryOut } from './tools.js';
import { findUids } from './uids.js';

interface BwrapWish {
  readonly bubblewrap: string;
}

/** The strongest manner that works here, found by trying. */
export async function findBwrap({ bubblewrap }: BwrapWish): Promise<{ readonly manner: Manner } | { readonly why: string }> {
  if (process.platform !== 'linux') return { why: 'Linux only' };
  if (!existsSync(bubblewrap)) return { why: 'not installed' };
  let why = '';
  for (const manner of manners()) {
    const workdir = await mkdtemp(join(await realpath(tmpdir()), 'peerwork-trial-'));
    const words = bwrapWords(bubblewrap, manner, { workdir, readable: [import.meta.dirname], environment: {} });
    const fault = await tryOut([...words, process.execPath, '-e', trial(workdir)]);
    await rm(workdir, { recursive: true, force: true });
    if (fault === undefined) return { manner };
    why = fault;
  }
  return { why };
}

/** Strongest first. The last is what any bubblewrap can do that may make namespaces: what it says is why there is none. */
function manners(): Manner[] {
  const uids = findUids();
  const filter = openFilter();
  // Without the filter nothing would keep such a program from making user namespaces.
  const asRoot = uids === undefined || filter.length === 0 ? [] : [{ uids, lastUserNamespace: false, filter, countsProcesses: true }];
  const inNamespace: Manner[] = [];
  for (const opens of filter.length === 0 ? [[]] : [filter, []]) {
    for (const countsProcesses of countsInNamespace ? [true, false] : [false]) {
      for (const lastUserNamespace of [true, false])
        inNamespace.push({ uids: undefined, lastUserNamespace, filter: opens, countsProcesses });
    }
  }
  return [...asRoot, ...inNamespace];
}
