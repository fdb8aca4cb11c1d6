import { existsSync, readFileSync } from 'node:fs';
import { isPublic } from './addresses.js';
import type { Aim, Attack } from './attack.js';
import { isIn, stateOf } from './canaries.js';
import { listNumbers } from './machine.js';
import type { Hit } from './world.js';

/** What the attack says of itself. */
export interface Said {
  readonly said?: string;
  readonly error?: string;
  readonly died?: string;
  /** Its own folder, as this machine names it. */
  readonly cwd?: string;
  /** How the job ended: `completed`, or the code of its error. */
  readonly ended?: string;
}

export interface Shot {
  readonly attack: Attack;
  readonly aim: Aim;
  /** Of the canary, before. */
  readonly before: string;
  said: Said;
}

export const INSPECTOR_PORT = 9229;

/** Whether the attack came through. `hits`: all that the servers saw. */
export function cameThrough({ attack, aim, before, said }: Shot, hits: readonly Hit[]): boolean {
  const text = said.said ?? '';
  const mine = hits.filter((hit) => hit.port === aim.port || hit.text.includes(aim.mark));
  switch (attack.evidence) {
    case 'reach':
      return mine.some(({ kind, address }) => kind === 'udp' || kind === 'path' || (kind === 'tcp' && !isPublic(address)));
    case 'reach any':
      return mine.some(({ kind }) => kind === 'tcp' || kind === 'udp' || kind === 'path');
    case 'name':
      return mine.some(({ kind }) => kind === 'name');
    case 'dialled':
      return hits.some(({ kind, port }) => kind === 'dialled' && port === aim.listen);
    case 'inspector':
      return said.error === undefined && hits.some(({ kind, port }) => kind === 'dialled' && port === INSPECTOR_PORT);
    case 'secret': {
      const { secret } = attack.w?.(aim) ?? {};
      const wanted = typeof secret === 'string' ? secret : aim.canary.secret;
      return text.includes(wanted) || text.includes('root:x:0:');
    }
    case 'changed':
      return stateOf(aim.canary.folder) !== before || Object.values(aim.owner).some(({ path }) => isIn(path, aim.mark));
    case 'done':
      return /^done/.test(text) || text.includes('notes.json');
    case 'hurt':
      return isHurt(aim.victim);
    case 'unbounded':
      return said.ended === 'completed' && text.includes('done');
    case 'lasting':
      return stateOf(aim.canary.folder) !== before || (said.cwd !== undefined && existsSync(said.cwd));
    case 'left':
      return processesWith(aim.mark);
    case 'worker':
      return false;
  }
}

/** Gone, stopped, or with another priority than it had. */
function isHurt(pid: number): boolean {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return ['T', 'Z', 'X'].includes(fields[0] ?? '') || fields[16] !== '0';
  } catch {
    return true;
  }
}

function processesWith(mark: string): boolean {
  return listNumbers('/proc').some((pid) => isIn(`/proc/${pid}/cmdline`, mark));
}
