import type { SeededRandom } from '../lab/seeded-random.js';

/** What makes warning where another value was expected. */
const values: readonly [unknown, ...unknown[]] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e308,
  2 ** 53,
  -(2 ** 31),
  '',
  ' ',
  '0',
  '__proto__',
  'constructor',
  '../../etc/passwd',
  '\u0000',
  '\ud800',
  '\u202e',
  '\u001b[2J',
  'x'.repeat(300),
  'é'.repeat(9_000),
  [],
  {},
  [[]],
  [null],
  { toString: 1 },
  JSON.parse('{"toJSON":1,"then":1,"length":-1}'),
  { constructor: { prototype: { polluted: true } } },
  Array.from({ length: 50 }, (_, at) => at),
];
const keys: readonly [string, ...string[]] = [
  'id',
  'data',
  'length',
  'constructor',
  'toString',
  'then',
  '',
  '0',
  'kind',
  'state',
  '\u0000',
];
const pieces: readonly [string, ...string[]] = [
  '{', '}', '[', ']', ',', ':', '"', '\\', '\\u0000', 'null', '1e999', '-0', '9007199254740993', 'NaN', '\n', '\r\n', '\ufeff', '\u2028', '"__proto__":', '{"__proto__":{"polluted":true}}', '//', "'", '%00', '\\ud800',
]; // biome-ignore format: a list of scraps
/** Near the limits of the doors, and beyond what recursion bears. */
const depths: readonly [number, ...number[]] = [499, 500, 501, 504, 511, 512, 513, 600, 4_400, 8_000];

/** A hostile version of one of the samples, as text; most are still JSON. The same for the same numbers of `random`. */
export function hostileText(random: SeededRandom, samples: readonly unknown[]): string {
  const sample = samples[random.below(samples.length)];
  const dice = random.below(100);
  // Some pass unharmed: what lies behind the door must be reached.
  if (dice < 4) return textOf(sample);
  if (dice < 60) return textOf(altered(random, sample, 1 + random.below(4)));
  if (dice < 62) return nested(random, textOf(sample));
  if (dice < 64) return polluted(random, textOf(sample));
  if (dice < 70) return Array.from({ length: random.below(30) }, () => random.pick(pieces)).join('');
  return scrambled(random, textOf(sample));
}

/** The same as bytes, some of them no UTF-8. */
export function hostileBytes(random: SeededRandom, samples: readonly unknown[]): Buffer {
  const bytes = Buffer.from(hostileText(random, samples));
  if (bytes.length > 0 && random.below(10) === 0) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

function textOf(sample: unknown): string {
  return typeof sample === 'string' ? sample : (JSON.stringify(sample) ?? '');
}

/** Parts of a value replaced, removed, doubled or renamed. */
function altered(random: SeededRandom, value: unknown, times: number): unknown {
  // A sample that is text may be JSON all the same, as a manifest's body is.
  const copy: { root: unknown } = { root: typeof value === 'string' ? asJson(value) : structuredClone(value) };
  for (let time = 0; time < times; time += 1) {
    let place = copy as Record<string, unknown>;
    let key = 'root';
    for (;;) {
      const inner = place[key];
      if (typeof inner !== 'object' || inner === null || random.below(4) === 0) break;
      const names = Object.keys(inner);
      if (names.length === 0) break;
      place = inner as Record<string, unknown>;
      key = names[random.below(names.length)] ?? '';
    }
    const dice = random.below(10);
    if (dice < 6) place[key] = structuredClone(random.pick(values));
    else if (dice === 6) delete place[key];
    else if (dice === 7 && !Array.isArray(place)) place[random.pick(keys)] = place[key];
    else if (dice === 8) place[key] = [place[key], place[key]];
    else place[key] = { [random.pick(keys)]: place[key] };
  }
  return copy.root;
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function nested(random: SeededRandom, text: string): string {
  const depth = random.pick(depths);
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
  ]);
  const bomb = open.repeat(depth) + (open === '[' ? '' : '1') + close.repeat(random.below(3) === 0 ? 0 : depth);
  // In the place of a value of it, where there is one.
  const at = text.search(/(?<=[:[,])("[^"]*"|\d+|null|true|false|\[\]|\{\})/);
  return at === -1 || random.below(3) === 0
    ? bomb
    : text.slice(0, at) + text.slice(at).replace(/^("[^"]*"|\d+|null|true|false|\[\]|\{\})/, () => bomb);
}

function polluted(random: SeededRandom, text: string): string {
  const key = random.pick([
    '"__proto__":{"polluted":true},',
    '"constructor":{"prototype":{"polluted":true}},',
    '"\\u005f_proto__":{"polluted":true},',
  ]);
  return text.replace(/\{(?=")/g, (brace) => (random.below(2) === 0 ? brace + key : brace));
}

function scrambled(random: SeededRandom, text: string): string {
  let result = text;
  for (let times = 1 + random.below(4); times > 0; times -= 1) {
    const at = random.below(result.length + 1);
    const to = Math.min(result.length, at + random.below(20));
    const dice = random.below(5);
    if (dice === 0) result = result.slice(0, at) + random.pick(pieces) + result.slice(at);
    else if (dice === 1) result = result.slice(0, at) + result.slice(to);
    else if (dice === 2) result = result.slice(0, at) + result.slice(at, to).repeat(3) + result.slice(to);
    else if (dice === 3) result = result.slice(0, at);
    else result = result.slice(0, at) + String.fromCharCode(random.below(random.below(2) === 0 ? 128 : 65_536)) + result.slice(at + 1);
  }
  return result;
}
