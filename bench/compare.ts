/**
 * `npm run bench:compare -- REV [names…] [--rounds N]`: this work tree, as it is built, against another revision, which is built beside it.
 * Both are measured in turns in one run, so that what else the machine does meets both, and the table tells ratios: below 1 is less than REV.
 * REV may also be the folder of a checkout that is built already. What could not be kept is told, not punished.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Comparison, comparisons, type Measure } from './comparisons.js';
import { Checkout } from './lab/checkout.js';
import { Lab, packageRoot } from './lab/lab.js';
import { median, quantile, type Row, table } from './lab/report.js';

/** What a change may cost. */
const MOST = 1.05;
const LEAST = 0.95;

type Figures = Readonly<Record<string, number>>;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string' } } });
const [revision, ...names] = positionals;
const unknown = names.filter((name) => !comparisons.some((comparison) => comparison.name === name));
if (revision === undefined || unknown.length > 0) {
  if (unknown.length > 0) console.error(`bench:compare: there is no ${unknown.join(', ')}`);
  console.error(`bench:compare: npm run bench:compare -- REV [${comparisons.map(({ name }) => name).join('] [')}] [--rounds N]`);
  process.exit(2);
}

const ends: (() => Promise<void>)[] = [];
async function end(code: number): Promise<never> {
  for (const each of ends.splice(0).reverse()) await each();
  process.exit(code);
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void end(130));

try {
  const theirs = await built(revision);
  const rows: Row[] = [];
  for (const comparison of comparisons) {
    if (names.length === 0 || names.includes(comparison.name)) rows.push(...(await compare(comparison, theirs)));
  }
  console.log(table(rows));
  await end(0);
} catch (thrown) {
  // Not after Ctrl-C, which makes everything fail that is under way.
  if (ends.length > 0) {
    console.error('bench:compare:', thrown);
    await end(1);
  }
}

/** The folder in which the other side stands, built. */
async function built(given: string): Promise<string> {
  if (statSync(given, { throwIfNoEntry: false })?.isDirectory()) return resolve(given);
  const checkout = await Checkout.at(packageRoot);
  ends.push(() => checkout.close());
  console.error(`bench:compare: ${given} is built in ${checkout.folder}`);
  await checkout.open(given);
  return checkout.folder;
}

async function compare(comparison: Comparison, root: string): Promise<Row[]> {
  const [ours, theirs] = [new Lab(), new Lab({ root })];
  ends.push(
    () => ours.close(),
    () => theirs.close(),
  );
  const [sampleOurs, sampleTheirs] = [await comparison.open(ours), await comparison.open(theirs)];
  const rounds = values.rounds === undefined ? comparison.rounds : Math.max(1, Number.parseInt(values.rounds, 10));
  const pairs: { ours: Figures; theirs: Figures }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    // Who is first changes: the second of two may find warmer caches.
    const first = round % 2 === 0 ? await sampleOurs() : undefined;
    const other = await sampleTheirs();
    pairs.push({ ours: first ?? (await sampleOurs()), theirs: other });
  }
  for (const each of ends.splice(-2).reverse()) await each();
  return Object.entries(comparison.measures).map(([name, measure]) => rowOf(name, measure, pairs));
}

function rowOf(name: string, { label, better, show }: Measure, pairs: readonly { ours: Figures; theirs: Figures }[]): Row {
  const [ours, theirs] = [pairs.map((pair) => pair.ours[name] ?? Number.NaN), pairs.map((pair) => pair.theirs[name] ?? Number.NaN)];
  const ratios = ours.map((value, round) => value / (theirs[round] ?? Number.NaN));
  const row: Row = {
    benchmark: label,
    figure: show(median(ours)),
    reference: `${show(median(theirs))}, ${pairs.length} pairs, middle half of the ratios ${quantile(ratios, 0.25).toFixed(2)} to ${quantile(ratios, 0.75).toFixed(2)}`,
    ratio: median(ratios),
    target: better === 'less' ? { most: MOST } : { least: LEAST },
  };
  console.error(`${row.benchmark}: ${row.figure}; ${row.reference}; ratio ${row.ratio.toFixed(2)}`);
  return row;
}
