/**
 * User ids for programs that root starts: each gets one that nobody else has, so that it can neither signal this process or another job
 * nor read what belongs to them.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';

interface Range {
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
}

/**
 * Ranges that are left unused by distributions, by systemd (its UIDS-GIDS page) and by services that map the accounts of a directory
 * (SSSD ends at 2,000,200,000): the top of the 31-bit range, and a small gap for containers whose map has no more than 65,536 ids.
 */
const candidates: readonly Range[] = [
  { first: 2_100_000_000, last: 2_147_483_646 },
  { first: 60_578, last: 61_183 },
];

/** Allocates ids from a range, starting at a random one, because several Workers on one machine know nothing of each other. */
export class Uids {
  readonly #range: Range;
  readonly #taken: ReadonlySet<number>;
  #next: number;

  constructor(range: Range, taken: ReadonlySet<number> = new Set()) {
    this.#range = range;
    this.#taken = taken;
    this.#next = randomInt(range.first, range.last + 1);
  }

  /** Returns an id that this process has not used before, unless the whole range has been used. */
  take(): number {
    const { first, last } = this.#range;
    for (let tries = first; tries <= last; tries += 1) {
      const uid = this.#next;
      this.#next = uid === last ? first : uid + 1;
      if (!this.#taken.has(uid)) return uid;
    }
    return last;
  }
}

/** Permission bits that others need to read a file or enter a folder. */
const OTHERS = 0o005;

/** Returns undefined unless this process is root, ids of a known range exist here, and others can read what it unpacks for them. */
export function findUids(): Uids | undefined {
  if (process.platform !== 'linux' || process.geteuid?.() !== 0 || (process.umask() & OTHERS) !== 0) return undefined;
  const [uids, gids] = [mappedRanges('/proc/self/uid_map'), mappedRanges('/proc/self/gid_map')];
  const range = candidates.find((candidate) => covers(uids, candidate) && covers(gids, candidate));
  return range === undefined ? undefined : new Uids(range, accountIds());
}

/** Returns the ids that this user namespace maps; each line holds the first id inside, the first id outside, and a count. */
function mappedRanges(file: string): readonly Range[] {
  return readLines(file).map((line) => {
    const [first = 0, , count = 0] = line.trim().split(/\s+/).map(Number);
    return { first, last: first + count - 1 };
  });
}

function covers(ranges: readonly Range[], { first, last }: Range): boolean {
  return ranges.some((range) => range.first <= first && range.last >= last);
}

function accountIds(): ReadonlySet<number> {
  return new Set(readLines('/etc/passwd').map((line) => Number(line.split(':')[2])));
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}
