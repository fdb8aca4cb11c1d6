import t from 'tap';
import {
  formatJson,
  isValueDeeper,
  type JsonLimits,
  JsonRefused,
  MAX_JSON_DEPTH,
  MAX_VALUE_DEPTH,
  parseJson,
  tryParseJson,
} from '../../src/kit/json.js';
import { outlineOf } from '../../src/kit/json-outline.js';
import { isDeeper, isMore } from '../../src/kit/json-scan.js';
import { type SeededRandom, seededRandom } from '../lab/seeded-random.js';

const MEBIBYTE = 1024 * 1024;
const lists = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const objects = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
const reasonOf = (source: string | Uint8Array, limits: JsonLimits = { maxBytes: 64 * MEBIBYTE }) => {
  try {
    parseJson(source, limits);
    return 'let in';
  } catch (thrown) {
    return thrown instanceof JsonRefused ? thrown.reason : String(thrown);
  }
};

t.test('depth', async (t) => {
  for (const make of [lists, objects]) {
    t.equal(reasonOf(make(MAX_JSON_DEPTH)), 'let in');
    t.equal(reasonOf(make(MAX_JSON_DEPTH + 1)), 'too-deep');
    for (const depth of [4_400, 8_000, 200_000, 3_000_000]) t.equal(reasonOf(make(depth)), 'too-deep', `${depth} levels`);
  }
  t.equal(reasonOf('['.repeat(3_000_000)), 'too-deep', 'without an end');
  t.equal(reasonOf(lists(3), { maxBytes: 100, maxDepth: 2 }), 'too-deep');
  t.equal(reasonOf(JSON.stringify({ text: '['.repeat(5_000) })), 'let in', 'brackets in a text are none');
  t.equal(reasonOf(JSON.stringify([`\\"${'{'.repeat(5_000)}`, '\\'])), 'let in');
  t.equal(reasonOf(`["${'\\\\'.repeat(20_000)}",${lists(600)}]`), 'too-deep', 'behind backslashes');
  t.equal(reasonOf(`["${'\\\\'.repeat(20_000)}\\",${lists(600)}"]`), 'let in', 'and within them');
  t.equal(reasonOf(`[${Array(2_000).fill('[[]]').join(',')}]`), 'let in', 'many, but flat');
});

t.test('depth and count are those of the value, wherever a text is cut for the scan', async (t) => {
  const random = seededRandom(7);
  for (let round = 0; round < 400; round += 1) {
    const value = made(random, 1 + random.below(12));
    const text = JSON.stringify([['x'.repeat(random.below(20_000)), 'é☃'.repeat(random.below(3_000))], value]);
    const depth = depthOf([[], value]);
    const found = [depth - 1, depth].map((most) => isDeeper(text, most));
    if (found[0] !== true || found[1] !== false) t.fail(`round ${round}: depth ${depth}, ${found}`);
    const items = itemsOf(text);
    if (!isMore(text, items - 1) || isMore(text, items)) t.fail(`round ${round}: ${items} items`);
  }
  t.pass('400 of them');
});

t.test('size, count and bytes', async (t) => {
  t.equal(reasonOf('"é"', { maxBytes: 4 }), 'let in');
  t.equal(reasonOf('"é"', { maxBytes: 3 }), 'too-large', 'in bytes, not in characters');
  t.equal(reasonOf(`[${'{},'.repeat(10)}{}]`, { maxBytes: 100, maxItems: 22 }), 'let in');
  t.equal(reasonOf(`[${'{},'.repeat(20)}{}]`, { maxBytes: 100, maxItems: 22 }), 'too-many');
  t.equal(
    reasonOf(JSON.stringify(['a,b,c,{,['.repeat(100)]), { maxBytes: 10_000, maxItems: 4 }),
    'let in',
    'what stands in texts does not count',
  );
  for (const broken of ['', '{', 'nul', '[1,]', '{"a":1,}', '1 2', "{'a':1}", 'NaN', '\u0000', '"\n"'])
    t.equal(reasonOf(broken), 'malformed', broken);
  t.equal(reasonOf(Buffer.from([0x22, 0xff, 0x22])), 'malformed', 'no UTF-8');
  t.equal(reasonOf(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), 'malformed', 'half a surrogate pair');
  t.same(parseJson(Buffer.from('\ufeff{"a":"é"}'), { maxBytes: 100 }), { a: 'é' }, 'a mark at the beginning is passed over');
  t.equal(tryParseJson('{', { maxBytes: 5 }), undefined);
  t.equal(tryParseJson(lists(600), { maxBytes: 5_000 }), undefined);
});

t.test('numbers that a double does not hold are refused where they are looked for, with their place', async (t) => {
  const limits = { maxBytes: 64 * MEBIBYTE, exact: true };
  const kept = [
    ...['0', '-0', '0.0', '0e999', '1', '-1.5', '9007199254740991', '9007199254740992', '-9007199254740994', '123456789012345680'],
    ...['1000000000000000000000', '1e21', '1E+22', '1e23', '1.7976931348623157e308', '5e-324', '2.2250738585072014e-308'],
    ...[
      '0.1',
      '0.10000000000000001',
      '3.141592653589793',
      '3.14159265358979312',
      '0.1000000000000000055511151231257827',
      '1.0000000000000000000000000',
    ],
  ];
  for (const text of kept) t.equal(reasonOf(`{"a":[${text}]}`, limits), 'let in', text);
  const changed = [
    ...[
      '9007199254740993',
      '-9007199254740993',
      '12345678901234567',
      '75773722160598580',
      '100000000000000000000000',
      '123456789012345678901234567890',
      '9007199254740992.5',
    ],
    ...[
      '1e309',
      '-1e400',
      '1e-400',
      '1.234567e-320',
      '0.1234567890123456789',
      '3.1415926535897932385',
      `0.${'3'.repeat(200)}`,
      '1'.repeat(400),
    ],
  ];
  for (const text of changed) t.equal(reasonOf(`{"a":[${text}]}`, limits), 'inexact', text);
  t.equal(reasonOf('[9007199254740993]'), 'let in', 'where nobody asks');
  for (const text of [
    '"9007199254740993"',
    '{"9007199254740993":"1e999, 0.1234567890123456789"}',
    '["\\"",{"a\\\\":"12345678901234567890"},"1e400"]',
  ])
    t.equal(reasonOf(text, limits), 'let in', 'in texts they are none');

  const place = (text: string) => {
    try {
      return parseJson(text, limits);
    } catch (thrown) {
      return (thrown as JsonRefused).message;
    }
  };
  t.match(place('9007199254740993'), 'the number 9007199254740993 (column 1) would become 9007199254740992: write it as a string');
  t.match(place('{"a":{"b":[1,{"c":"x"},{"d":1,"e":9007199254740993}]}}'), /at a\.b\[2\]\.e \(column 35\)/);
  t.match(place('{\n  "ü ö": [\n    true,\n    1e999\n  ]\n}'), /at \["ü ö"\]\[1\] \(line 4, column 5\) would become Infinity/);
  t.match(place(`{"a":"x","b":${'9'.repeat(5_000)}}`), /the number 9{40}… at b /);

  const random = seededRandom(11);
  for (let round = 0; round < 300; round += 1) {
    const padding = 'x'.repeat(random.below(40));
    const digits = 15 + random.below(4);
    const number = String(1 + random.below(9)) + Array.from({ length: digits - 1 }, () => random.below(10)).join('');
    const text = `{"${padding}":[${'1,'.repeat(random.below(9))}${number}]}`;
    const expected = BigInt(number) === BigInt(Number(number)) ? 'let in' : 'inexact';
    if (reasonOf(text, limits) !== expected) t.fail(`${text}: ${reasonOf(text, limits)}`);
  }
  t.pass('wherever they stand');
});

t.test('a key __proto__ arrives as it was sent, and sets no prototype', async (t) => {
  const value = parseJson('{"__proto__":{"polluted":true},"a":1}', { maxBytes: 100 }) as Record<string, unknown>;
  t.ok(Object.hasOwn(value, '__proto__'));
  t.equal(value['polluted'], undefined);
  t.equal(({ ...value } as Record<string, unknown>)['polluted'], undefined);
  t.equal(formatJson(value, { maxBytes: 100 }), '{"__proto__":{"polluted":true},"a":1}');
});

t.test('text of a value, within the limits that its readers have', async (t) => {
  const nest = (depth: number) => JSON.parse(lists(depth)) as unknown;
  const reason = (value: unknown, maxBytes = 64 * MEBIBYTE) => {
    try {
      return formatJson(value, { maxBytes });
    } catch (thrown) {
      return thrown instanceof JsonRefused ? thrown.reason : String(thrown);
    }
  };
  t.equal(reason(nest(MAX_VALUE_DEPTH)), lists(MAX_VALUE_DEPTH));
  for (const depth of [MAX_VALUE_DEPTH + 1, 4_400, 8_000, 200_000]) t.equal(reason(nest(depth)), 'too-deep', `${depth} levels`);
  const circle: unknown[] = [];
  circle.push(circle);
  t.equal(reason(circle), 'malformed');
  t.equal(reason(1n), 'malformed');
  t.equal(reason(undefined), 'malformed');
  t.equal(reason('xxx', 4), 'too-large');
  t.notOk(isValueDeeper(nest(500)));
  t.ok(isValueDeeper(nest(501)));
  t.ok(isValueDeeper(nest(200_000)));
  t.ok(isValueDeeper({ a: { b: circle } }));
  t.ok(
    reasonOf(`{"results":[{"outcome":{"output":${lists(MAX_VALUE_DEPTH)}}}]}`) === 'let in',
    'a value that is let in passes in its message',
  );
});

t.test('an outline tells whose a refused text is', async (t) => {
  const limits = { maxBytes: 10 * MEBIBYTE, maxDepth: 2 };
  t.same(outlineOf(`{"task":{"_id":"t","input":${lists(200_000)},"n":[1]},"x":2}`, limits), {
    task: { _id: 't', input: null, n: null },
    x: 2,
  });
  t.same(outlineOf('{"a":"]}\\"[","b":[[[1]]]}', limits), { a: ']}"[', b: [null] });
  t.equal(outlineOf('{"a":[[[', limits), undefined);
  t.equal(outlineOf('{"a":"', limits), undefined);
  t.equal(outlineOf('[[[]]]', { maxBytes: 3, maxDepth: 2 }), undefined);
});

function made(random: SeededRandom, depth: number): unknown {
  if (depth === 0) return random.pick(['[{"', 'a\\"]', 1, null, true, 'é}']);
  const items = Array.from({ length: 1 + random.below(3) }, (_, at) =>
    made(random, at === 0 ? depth - 1 : random.below(Math.min(depth, 2))),
  );
  return random.below(2) === 0 ? items : Object.fromEntries(items.map((item, at) => [random.pick(['{', '"', 'k\\', '[']) + at, item]));
}

function depthOf(value: unknown): number {
  return typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
}

/** Counts commas and opening brackets outside of strings. */
function itemsOf(text: string): number {
  return text.replace(/"(?:[^"\\]|\\.)*"/g, '').replace(/[^[{,]/g, '').length;
}
