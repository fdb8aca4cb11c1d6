const HEADER_BYTES = 12;
const [TYPE_A, TYPE_AAAA] = [1, 28];

/**
 * The answer to one question of DNS. Names are those of the list, what is below them too; several lists of addresses take turns: each new question
 * for IPv4 addresses gets the next. TTL 0. Undefined for what is no question.
 */
export function answerName(
  question: Buffer,
  names: Readonly<Record<string, readonly (readonly string[])[]>>,
  turns: Map<string, number>,
): { readonly name: string; readonly bytes: Buffer } | undefined {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
    labels.push(question.toString('latin1', at + 1, at + 1 + length).toLowerCase());
    at += length + 1;
    if (at >= question.length) return undefined;
  }
  const end = at + 5;
  if (question.length < end) return undefined;
  const type = question.readUInt16BE(at + 1);
  const name = labels.join('.');
  const lists = Object.entries(names).find(([known]) => name === known || name.endsWith(`.${known}`))?.[1];
  const turn = turns.get(name) ?? 0;
  if (type === TYPE_A) turns.set(name, turn + 1);
  const addresses = (lists?.[turn % (lists.length || 1)] ?? []).filter((address) => address.includes(':') === (type === TYPE_AAAA));
  const records = type === TYPE_A || type === TYPE_AAAA ? addresses.map((address) => record(type, address)) : [];
  const header = Buffer.alloc(HEADER_BYTES);
  question.copy(header, 0, 0, 2);
  header.writeUInt16BE(lists === undefined ? 0x8183 : 0x8180, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return { name, bytes: Buffer.concat([header, question.subarray(HEADER_BYTES, end), ...records]) };
}

function record(type: number, address: string): Buffer {
  const data = type === TYPE_A ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address);
  const head = Buffer.from([0xc0, HEADER_BYTES, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
  return Buffer.concat([head, data]);
}

function ipv6Bytes(address: string): Buffer {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = (high: string | undefined, low: string | undefined) => ((Number(high) << 8) | Number(low)).toString(16);
  const text = dotted === null ? address : `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}`;
  const [before = '', after] = text.split('::');
  const left = before.split(':').filter(Boolean);
  const right = (after ?? '').split(':').filter(Boolean);
  const groups = [...left, ...new Array<string>(8 - left.length - right.length).fill('0'), ...right];
  const bytes = Buffer.alloc(16);
  for (const [index, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  return bytes;
}
