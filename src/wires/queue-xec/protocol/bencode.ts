/**
 * Bencode, as used by BitTorrent and the channel messages. Input comes from strangers: depth, number of values and integers are bounded,
 * and nothing is allocated from announced lengths.
 */

/** A protocol violation in something received. Never escapes the wire. */
export class WireFault extends Error {}

export type Bencoded = number | Buffer | readonly Bencoded[] | Bendict;
/** Keys as latin1 text. */
export type Bendict = ReadonlyMap<string, Bencoded>;

export type Encodable = number | string | Uint8Array | readonly Encodable[] | { readonly [key: string]: Encodable | undefined };

const MAX_DEPTH = 8;
const MAX_VALUES = 4_096;
const MAX_DIGITS = 16;

const COLON = 0x3a;
const MINUS = 0x2d;
const [DICT, END, INTEGER, LIST] = [0x64, 0x65, 0x69, 0x6c];

/** Decodes a single value that spans all of the bytes. Throws WireFault. */
export function decode(bytes: Buffer): Bencoded {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.done) throw new WireFault('trailing data after the value');
  return value;
}

/** Decodes a dictionary. Throws WireFault for anything else. */
export function decodeDict(bytes: Buffer): Bendict {
  const value = decode(bytes);
  if (!isDict(value)) throw new WireFault('not a dictionary');
  return value;
}

export function isDict(value: Bencoded | undefined): value is Bendict {
  return value instanceof Map;
}

/** Returns a byte string of a dictionary. Throws WireFault if it is missing or of another type. */
export function bytesIn(dict: Bendict, key: string): Buffer {
  const value = dict.get(key);
  if (!Buffer.isBuffer(value)) throw new WireFault(`${key} is no string`);
  return value;
}

/** Returns an integer of a dictionary. Throws WireFault if it is missing or of another type. */
export function integerIn(dict: Bendict, key: string): number {
  const value = dict.get(key);
  if (typeof value !== 'number') throw new WireFault(`${key} is no integer`);
  return value;
}

/** Encodes a value, with keys in byte order; members that are undefined are omitted. */
export function encode(value: Encodable): Buffer {
  const parts: Uint8Array[] = [];
  write(value, parts);
  return Buffer.concat(parts);
}

function write(value: Encodable, parts: Uint8Array[]): void {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new RangeError('only safe integers can be written');
    parts.push(Buffer.from(`i${value}e`));
  } else if (typeof value === 'string' || value instanceof Uint8Array) {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    parts.push(Buffer.from(`${bytes.length}:`), bytes);
  } else if (isList(value)) {
    parts.push(Buffer.from('l'));
    for (const item of value) write(item, parts);
    parts.push(Buffer.from('e'));
  } else {
    parts.push(Buffer.from('d'));
    for (const key of Object.keys(value).sort()) {
      const item = value[key];
      if (item === undefined) continue;
      write(key, parts);
      write(item, parts);
    }
    parts.push(Buffer.from('e'));
  }
}

function isList(value: object): value is readonly Encodable[] {
  return Array.isArray(value);
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  #values = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(depth: number): Bencoded {
    this.#values += 1;
    if (depth > MAX_DEPTH || this.#values > MAX_VALUES) throw new WireFault('nested too deeply, or too many values');
    const kind = this.#bytes[this.#at];
    if (kind === DICT) return this.#dict(depth);
    if (kind === LIST) return this.#list(depth);
    if (kind === INTEGER) {
      this.#at += 1;
      return this.#integer(END);
    }
    return this.#text();
  }

  #dict(depth: number): Bendict {
    this.#at += 1;
    const dict = new Map<string, Bencoded>();
    while (!this.#ends()) dict.set(this.#text().toString('latin1'), this.value(depth + 1));
    return dict;
  }

  #list(depth: number): Bencoded[] {
    this.#at += 1;
    const list: Bencoded[] = [];
    while (!this.#ends()) list.push(this.value(depth + 1));
    return list;
  }

  #ends(): boolean {
    if (this.#bytes[this.#at] !== END) return false;
    this.#at += 1;
    return true;
  }

  #text(): Buffer {
    const length = this.#integer(COLON);
    const end = this.#at + length;
    if (length < 0 || end > this.#bytes.length) throw new WireFault('a string ends early');
    const text = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return text;
  }

  #integer(closing: number): number {
    const from = this.#at;
    if (this.#bytes[this.#at] === MINUS) this.#at += 1;
    const digits = this.#at;
    for (let digit = this.#bytes[this.#at]; digit !== closing; digit = this.#bytes[this.#at]) {
      if (digit === undefined || digit < 0x30 || digit > 0x39 || this.#at - digits >= MAX_DIGITS) throw new WireFault('not an integer');
      this.#at += 1;
    }
    const value = Number(this.#bytes.toString('latin1', from, this.#at));
    if (this.#at === digits || !Number.isSafeInteger(value)) throw new WireFault('not an integer');
    this.#at += 1;
    return value;
  }
}
