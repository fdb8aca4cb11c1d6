// The function form: `data` is the job's data as it was given, `context` tells and asks.
import { createReadStream } from 'node:fs';
import { basename, join } from 'node:path';

const texts = join(import.meta.dirname, 'texts');
const LISTED = 10;

/** { file } → { file, lines, words, distinct, longest, most: [[word, count], …] } */
export default async function countWords({ file }, context) {
  const counts = new Map();
  let lines = 0;
  let words = 0;
  let rest = '';
  // basename: a job names a text, not a path.
  for await (const chunk of createReadStream(join(texts, basename(file)), { encoding: 'utf8', signal: context.signal })) {
    const complete = (rest + chunk).split('\n');
    rest = complete.pop();
    for (const line of complete) words += count(line, counts);
    lines += complete.length;
    context.progress({ lines });
  }
  if (rest !== '') {
    words += count(rest, counts);
    lines += 1;
  }
  context.log(`${file}: ${words} words`);
  const most = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, LISTED);
  const longest = [...counts.keys()].reduce((a, b) => (b.length > a.length ? b : a), '');
  return { file, lines, words, distinct: counts.size, longest, most };
}

function count(line, counts) {
  const words = line.toLowerCase().match(/\p{L}+(?:['’-]\p{L}+)*/gu) ?? [];
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return words.length;
}
