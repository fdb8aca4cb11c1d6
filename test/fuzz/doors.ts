import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Test } from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { JsonRefused } from '../../src/kit/json.js';
import { type SeededRandom, seededRandom } from '../lab/seeded-random.js';
import { hostileBytes, hostileText } from './hostile.js';

/** A place where foreign bytes come in. */
export interface Door {
  readonly name: string;
  /** What is well formed there: a value, or a text. */
  readonly samples: readonly [unknown, ...unknown[]];
  /** How many of all inputs come here; default 1. */
  readonly share?: number;
  /** Nothing that is sent is good: who sends it has no lease, no key. */
  readonly refusesAll?: boolean;
  /** Errors of other classes that mean a refusal here. */
  readonly refuses?: (thrown: unknown) => boolean;
  /** Lets one input in, or refuses it: with undefined, a PeerworkError or a JsonRefused. */
  readonly enter: (input: DoorInput) => unknown;
}

export interface DoorInput {
  readonly text: string;
  readonly bytes: Buffer;
  readonly random: SeededRandom;
}

const MEBIBYTE = 1024 * 1024;
/** Of what is still held when all is over, and of the whole process while it goes on. */
const MAX_GROWTH_BYTES = 48 * MEBIBYTE;
const MAX_RESIDENT_BYTES = 1024 * MEBIBYTE;
const LOOK_EVERY = 2_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** How many inputs there are in all; 1,000,000 with `npm run test:fuzz`. */
export const INPUTS = Number(process.env['PEERWORK_FUZZ_INPUTS'] ?? 50_000);
export const SEED = Number(process.env['PEERWORK_FUZZ_SEED'] ?? 20_26);

/** Sends so many inputs through the doors in turn, and says with seed and number which one was not withstood. */
export async function fuzz(t: Test, doors: readonly Door[], inputs: number): Promise<void> {
  const lot = doors.flatMap((door) => Array.from({ length: door.share ?? 1 }, () => door));
  const faults: string[] = [];
  const counts = new Map<string, { let: number; refused: number }>(doors.map(({ name }) => [name, { let: 0, refused: 0 }]));
  let resident = 0;
  let before = 0;
  for (let number = 0; number < inputs && faults.length < 20; number += 1) {
    const door = lot[number % lot.length];
    if (door === undefined) break;
    const random = seededRandom(SEED * 1_000_003 + number);
    const bytes = random.below(10) === 0 ? hostileBytes(random, door.samples) : undefined;
    const text = bytes?.toString() ?? hostileText(random, door.samples);
    const count = counts.get(door.name) ?? { let: 0, refused: 0 };
    try {
      const given = door.enter({ text, bytes: bytes ?? Buffer.from(text), random });
      const entered: unknown = given instanceof Promise ? await given : given;
      count[entered === undefined ? 'refused' : 'let'] += 1;
    } catch (thrown) {
      count.refused += 1;
      if (
        !(thrown instanceof PeerworkError && thrown.code !== 'internal') &&
        !(thrown instanceof JsonRefused) &&
        door.refuses?.(thrown) !== true
      )
        faults.push(`${door.name}, seed ${SEED}, input ${number}: ${describe(thrown)} at ${text.slice(0, 300)}`);
    }
    if (({} as { polluted?: unknown }).polluted !== undefined)
      faults.push(`${door.name}, seed ${SEED}, input ${number}: a prototype was changed`);
    if (number % LOOK_EVERY === 0) {
      // Timers and streams of the doors get their turn.
      await new Promise((resolve) => setImmediate(resolve));
      resident = Math.max(resident, process.memoryUsage.rss());
      if (number === Math.min(10 * LOOK_EVERY, Math.floor(inputs / 4 / LOOK_EVERY) * LOOK_EVERY)) {
        collect();
        before = process.memoryUsage().heapUsed;
      }
    }
  }
  t.same(faults, [], `${inputs} inputs at ${doors.length} doors`);
  for (const { name, refusesAll = false } of doors) {
    const { let: entered, refused } = counts.get(name) ?? { let: 0, refused: 0 };
    t.ok((entered > 0 || refusesAll) && refused > 0, `${name}: ${entered} let in, ${refused} refused`);
  }
  collect();
  const growth = process.memoryUsage().heapUsed - before;
  t.ok(growth < MAX_GROWTH_BYTES, `nothing is kept of them: ${Math.round(growth / MEBIBYTE)} MiB more`);
  t.ok(resident < MAX_RESIDENT_BYTES, `${Math.round(resident / MEBIBYTE)} MiB at most`);
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? String(thrown)).split('\n').slice(0, 4).join(' | ') : String(thrown);
}
