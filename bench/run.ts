/**
 * `npm run bench -- [names…] [--json FILE] [--profile FOLDER]`: runs the benchmarks in turn and prints one table. A missed target is
 * told, not punished; the exit code is 1 when a benchmark could not be run. With `--profile` each process leaves a CPU profile, and
 * the functions that took most are printed; the figures are then lower.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { assetSync } from './asset-sync.js';
import { backlog } from './backlog.js';
import { containerJob } from './container-job.js';
import { crawl, crawlMemory } from './crawl.js';
import { crewJobs } from './crew-source.js';
import { http } from './http.js';
import { idleMemory } from './idle-memory.js';
import { idleWorkers } from './idle-workers.js';
import { Lab } from './lab/lab.js';
import { printProfiles } from './lab/profile.js';
import { isMet, type Row, table } from './lab/report.js';
import { ledgerQueues } from './ledger-queues.js';
import { openfn } from './openfn.js';
import { queueXec } from './queue-xec.js';
import { requestQueue } from './request-queue.js';
import { roundTrip } from './round-trip.js';
import { secondSync } from './second-sync.js';
import { startToResult } from './start-to-result.js';
import { throughput } from './throughput.js';
import { tunnel } from './tunnel.js';
import { worqr } from './worqr.js';

const benchmarks = [
  ledgerQueues,
  backlog,
  http,
  throughput,
  roundTrip,
  assetSync,
  secondSync,
  startToResult,
  idleMemory,
  idleWorkers,
  tunnel,
  containerJob,
  requestQueue,
  crawl,
  crawlMemory,
  openfn,
  worqr,
  queueXec,
  crewJobs,
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, profile: { type: 'string' } },
});
const unknown = positionals.filter((name) => !benchmarks.some((benchmark) => benchmark.name === name));
if (unknown.length > 0) {
  console.error(`bench: there is no ${unknown.join(', ')}; there are ${benchmarks.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const profileFolder = values.profile === undefined ? undefined : resolve(values.profile);
if (profileFolder !== undefined) mkdirSync(profileFolder, { recursive: true });

let lab: Lab | undefined;
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    stopped = true;
    void lab?.close().then(() => process.exit(130));
  });

const rows: Row[] = [];
const failures: { readonly benchmark: string; readonly error: string }[] = [];
for (const benchmark of benchmarks) {
  if (stopped || (positionals.length > 0 && !positionals.includes(benchmark.name))) continue;
  lab = new Lab(profileFolder === undefined ? {} : { profileFolder });
  const startedAt = performance.now();
  try {
    const measured = await benchmark.run(lab);
    rows.push(...measured);
    for (const row of measured) console.error(`${row.benchmark}: ${row.figure}; ${row.reference}; ratio ${row.ratio.toFixed(2)}`);
    for (const note of measured.flatMap((row) => row.notes ?? [])) console.error(`    ${note}`);
  } catch (error) {
    if (!stopped) failures.push({ benchmark: benchmark.name, error: error instanceof Error ? error.message : String(error) });
    if (!stopped) console.error(`${benchmark.name}: could not be run:`, error);
  } finally {
    await lab.close();
  }
  console.error(`    (${((performance.now() - startedAt) / 1_000).toFixed(0)} s)`);
}

console.log(table(rows));
const missed = rows.filter((row) => isMet(row) === false).length;
console.log(`\nNode ${process.versions.node}, ${availableParallelism()} cores. ${missed} of ${rows.length} rows miss their target.`);
for (const { benchmark, error } of failures) console.log(`${benchmark} could not be run: ${error.split('\n')[0]}`);
if (values.json !== undefined) {
  const machine = { node: process.versions.node, platform: process.platform, arch: process.arch, cores: availableParallelism() };
  writeFileSync(
    values.json,
    `${JSON.stringify({ machine, rows: rows.map((row) => ({ ...row, met: isMet(row) })), failures }, undefined, 2)}\n`,
  );
}
if (profileFolder !== undefined) printProfiles(profileFolder);
process.exit(failures.length > 0 ? 1 : 0);
