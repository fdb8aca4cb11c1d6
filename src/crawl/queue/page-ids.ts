import { ID_CHARS, requestId } from '../request-id.js';

const WORDS = 3;
const CHARS_A_WORD = ID_CHARS / WORDS;
const FIRST_SLOTS = 1_024;
/** Load factor; above it the slots are doubled. */
const MAX_FULL = 0.6;
/** Flags in the first word of a slot, above the 30 bits of its characters. */
const TAKEN = 1 << 30;
const HANDLED = 1 << 31;

const SIX_BITS = new Int8Array(128).fill(-1);
for (const [at, char] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries())
  SIX_BITS[char.charCodeAt(0)] = at;

/**
 * The ids of all pages that a crawl knows, and which of them are handled: 20 to 40 bytes each. A set of strings takes 100 bytes and more
 * each, and would dominate the memory of a crawl of a million pages.
 *
 * The 15 base64 characters of an id are 90 bits, which are kept as they are; an id of another form is kept by its hash.
 */
export class PageIds {
  #slots = new Int32Array(FIRST_SLOTS * WORDS);
  #size = 0;
  #handled = 0;

  get size(): number {
    return this.#size;
  }

  get handled(): number {
    return this.#handled;
  }

  has(id: string): boolean {
    return this.#find(wordsOf(id)) >= 0;
  }

  /** Returns false if it was present. */
  add(id: string): boolean {
    const words = wordsOf(id);
    const at = this.#find(words);
    if (at >= 0) return false;
    this.#put(words, ~at);
    return true;
  }

  isHandled(id: string): boolean {
    const at = this.#find(wordsOf(id));
    return at >= 0 && ((this.#slots[at] ?? 0) & HANDLED) !== 0;
  }

  /** Adds it if it was missing. Returns false if it was handled already. */
  handle(id: string): boolean {
    this.add(id);
    const at = this.#find(wordsOf(id));
    const first = this.#slots[at] ?? 0;
    if ((first & HANDLED) !== 0) return false;
    this.#slots[at] = first | HANDLED;
    this.#handled += 1;
    return true;
  }

  /** Returns the index of the id, or the complement of the index where it belongs. */
  #find([first, second, third]: Words): number {
    const slots = this.#slots;
    const count = slots.length / WORDS;
    // Any bits of a hash are equally good.
    for (let slot = (third ^ (second << 7)) & (count - 1); ; slot = (slot + 1) & (count - 1)) {
      const at = slot * WORDS;
      const found = slots[at] ?? 0;
      if (found === 0) return ~at;
      if ((found & ~HANDLED) === first && slots[at + 1] === second && slots[at + 2] === third) return at;
    }
  }

  #put(words: Words, at: number): void {
    this.#slots.set(words, at);
    this.#size += 1;
    if (this.#size <= (this.#slots.length / WORDS) * MAX_FULL) return;
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    for (let from = 0; from < old.length; from += WORDS) {
      const first = old[from] ?? 0;
      if (first === 0) continue;
      const moved: Words = [first & ~HANDLED, old[from + 1] ?? 0, old[from + 2] ?? 0];
      const to = ~this.#find(moved);
      this.#slots.set(moved, to);
      this.#slots[to] = first;
    }
  }
}

type Words = readonly [number, number, number];

function wordsOf(id: string): Words {
  const words: [number, number, number] = [TAKEN, 0, 0];
  if (id.length !== ID_CHARS) return wordsOf(requestId(id));
  for (let word = 0; word < WORDS; word += 1) {
    let bits = 0;
    for (let at = word * CHARS_A_WORD; at < (word + 1) * CHARS_A_WORD; at += 1) {
      const six = SIX_BITS[id.charCodeAt(at)] ?? -1;
      if (six < 0) return wordsOf(requestId(id));
      bits = (bits << 6) | six;
    }
    words[word] = word === 0 ? bits | TAKEN : bits;
  }
  return words;
}
