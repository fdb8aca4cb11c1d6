/**
 * The attack suite: each attack of the table in docs/isolation.md is run for real in each tier, as root and as an ordinary user, and once without any
 * wall, where it must come through, so that a row cannot hold because its attack is broken. What came of it is seen from outside wherever it can be.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { dockerTools } from '../lab/docker.js';
import { podmanTools } from '../lab/podman.js';
import { requireTools } from '../lab/require.js';
import { type Attack, expectedOf, type Tier, tiers, type Verdict } from './attack.js';
import { runBed } from './bed-pass.js';
import { runContainers } from './container-pass.js';
import { channelAttacks, leavingAttacks } from './job-attacks.js';
import { machineAttacks } from './machine-attacks.js';
import { mustReach, mustWork, networkAttacks } from './network-attacks.js';
import { type Finding, runBehindWall, runControl } from './passes.js';
import { ordinaryUser, Stage } from './stage.js';
import { allAttacks, attackTable } from './table.js';
import { runWorker, type WorkerReport } from './worker-pass.js';

const INSIDE = 'PEERWORK_ATTACKS';
const SUITE_LIMIT_MS = 1_500_000;
const PASSES_AT_ONCE = 2;
/** For whoever works on one of them: only the passes whose name matches are run, and the table is not compared. */
const chosen = process.env['PEERWORK_ATTACK_PASSES'];
const file = fileURLToPath(import.meta.url);
const build = fileURLToPath(new URL('../..', import.meta.url));
/** A row each, of the last run. */
const faultsFile = join(build, 'attack-faults.json');
const MOST_FAULTS = 20;
const users = [0, ordinaryUser];

interface Pass {
  readonly name: string;
  readonly tier: Tier | 'control';
  readonly uid: number;
  readonly run: () => Promise<WorkerReport>;
}

interface Seen extends WorkerReport {
  readonly pass: Pass;
}

t.setTimeout(SUITE_LIMIT_MS);
if (process.env[INSIDE] === undefined) await outside();
else await inside();

/** Names are resolved as the suite wants it: in a mount namespace of its own, so that no other program of this machine sees it. */
async function outside(): Promise<void> {
  const tools = { bwrap: 'bubblewrap', nft: 'nftables', setpriv: 'util-linux', unshare: 'util-linux', mount: 'mount', cc: 'gcc' };
  await t.test('every attack in every tier', { timeout: SUITE_LIMIT_MS }, async (t) => {
    if (!requireTools(t, { ...dockerTools, ...podmanTools, ...tools }, { root: true })) return;
    // Not by tap's own `spawn`, which has every Node below it load files of its own: jobs of another uid may not.
    const words = ['--mount', '--propagation', 'private', process.execPath, '--enable-source-maps', file];
    const child = spawn('unshare', words, { env: { ...process.env, [INSIDE]: 'inside' }, stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGTERM'));
    rmSync(faultsFile, { force: true });
    const lines: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
    const [code] = (await once(child, 'close')) as [number | null];
    // The rows that differ come first, and briefly: build/attack-notes.txt has what each attack said.
    const faults = existsSync(faultsFile) ? (JSON.parse(readFileSync(faultsFile, 'utf8')) as string[]) : undefined;
    for (const fault of faults?.slice(0, MOST_FAULTS) ?? []) t.fail(fault, { at: null, stack: '' });
    t.equal(faults?.length ?? 'it died before the end', 0, 'every attack is held, or open as documented');
    if (code !== 0 && !faults?.length) t.fail(`it ended with ${code}`, { lines: lines.filter((line) => !/^ *ok /.test(line)).slice(-60) });
    for (const line of lines) {
      const comment = /^ *# (.*:.*)$/.exec(line)?.[1];
      if (comment !== undefined && !/Subtest|total:/.test(comment)) t.comment(comment);
    }
  });
}

async function inside(): Promise<void> {
  const seen: Seen[] = [];
  await t.test('with docker', { timeout: SUITE_LIMIT_MS }, async (t) => {
    const stage = await Stage.open('docker');
    t.teardown(() => stage.close());
    seen.push(...(await runAll(t, [...passesOf(stage), containers(stage)])));
  });
  writeFileSync(join(build, 'attack-notes.txt'), notesOf(seen));
  if (chosen === undefined || new RegExp(chosen).test('podman'))
    await t.test('with podman', { timeout: SUITE_LIMIT_MS }, async (t) => {
      const stage = await Stage.open('podman');
      t.teardown(() => stage.close());
      seen.push(...(await runAll(t, [containers(stage)])));
    });
  writeFileSync(join(build, 'attack-notes.txt'), notesOf(seen));
  // A pass that broke off has said why; rows that it has not seen say nothing.
  if (!t.passing()) return;
  const faults = [...brokenWork(seen), ...harmDone(seen)];
  if (chosen === undefined) {
    writeFileSync(join(build, 'attack-table.md'), `${attackTable((attack, tier) => verdictOf(seen, attack, tier))}\n`);
    faults.unshift(...controlFaults(t, seen), ...tierFaults(t, seen));
  }
  writeFileSync(faultsFile, JSON.stringify(faults));
  t.ok(networkAttacks.length >= 60 && allAttacks.length - networkAttacks.length >= 60, 'at least 60 on the network and 60 others');
  t.same(faults, []);
}

/** What every attack said in every pass, for who wants to know why. */
function notesOf(seen: readonly Seen[]): string {
  return seen
    .flatMap(({ pass, findings, harm }) => [
      ...harm.map((each) => `${pass.name} | HARM | ${each.replaceAll('\n', ' ')}`),
      ...findings.map(
        ({ attack, through, note }) => `${pass.name} | ${through ? 'THROUGH' : 'held'} | ${attack.group} | ${attack.name} | ${note}`,
      ),
    ])
    .join('\n');
}

function passesOf(stage: Stage): Pass[] {
  const code = [...networkAttacks, ...machineAttacks];
  const jobs = [...code, ...mustWork, ...channelAttacks, ...leavingAttacks];
  const alone = (run: () => Promise<readonly Finding[]>) => async () => ({ findings: await run(), harm: [] });
  return [
    ...users.map(
      (uid): Pass => ({
        name: `control, user ${uid}`,
        tier: 'control',
        uid,
        run: alone(() => runControl(stage, uid, [...code, ...mustWork])),
      }),
    ),
    ...users.flatMap((uid) =>
      (['process', 'bwrap'] as const).flatMap((tier): Pass[] => [
        { name: `${tier}, user ${uid}`, tier, uid, run: () => runWorker(stage, { name: `${tier}-${uid}`, tier, uid }, jobs) },
        { name: `${tier}, user ${uid}, one runner`, tier, uid, run: alone(() => runBed(stage, { name: `${tier}-${uid}`, tier, uid })) },
      ]),
    ),
    ...users.map(
      (uid): Pass => ({
        name: `behind bubblewrap alone, user ${uid}`,
        tier: 'bwrap',
        uid,
        run: alone(() => runBehindWall(stage, uid, [...code, ...mustReach()])),
      }),
    ),
  ];
}

function containers(stage: Stage): Pass {
  const attacks = [...networkAttacks, ...machineAttacks, ...mustWork];
  return { name: stage.lab.engine, tier: 'container', uid: 0, run: () => runContainers(stage, attacks) };
}

/** Two at a time: much of it is waiting. */
async function runAll(t: Test, passes: readonly Pass[]): Promise<Seen[]> {
  const queue = passes.filter(({ name }) => chosen === undefined || new RegExp(chosen).test(name));
  const seen: Seen[] = [];
  const lane = async () => {
    for (let pass = queue.shift(); pass !== undefined; pass = queue.shift()) {
      const startedAt = Date.now();
      seen.push({ pass, ...(await pass.run()) });
      const through = seen.at(-1)?.findings.filter((finding) => finding.through).length;
      t.comment(
        `${pass.name}: ${through} of ${seen.at(-1)?.findings.length} came through, ${((Date.now() - startedAt) / 1_000).toFixed(1)} s`,
      );
    }
  };
  await Promise.all(Array.from({ length: PASSES_AT_ONCE }, lane));
  return seen;
}

function findingsOf(seen: readonly Seen[], attack: Attack, tier: Pass['tier']): (Finding & { readonly pass: Pass })[] {
  return seen
    .filter(({ pass }) => pass.tier === tier)
    .flatMap(({ pass, findings }) => findings.filter((finding) => finding.attack === attack).map((finding) => ({ ...finding, pass })));
}

/** An error that a kernel gives for what it was built without. */
const MISSING = /error (38|97|93|94|2)\b/;

/** Attacks that do not come through even where no wall is, and so show nothing elsewhere. */
function controlFaults(t: Test, seen: readonly Seen[]): string[] {
  const faults: string[] = [];
  for (const attack of [...networkAttacks, ...machineAttacks, ...mustWork]) {
    if (attack.control === false) continue;
    const findings = findingsOf(seen, attack, 'control');
    if (findings.some(({ through }) => through)) continue;
    if (attack.group === 'kernel' && findings.every(({ note }) => MISSING.test(note))) t.comment(`this kernel has no ${attack.name}`);
    else faults.push(`${attack.group}: ${attack.name}: it does nothing even without a wall: ${findings.map(({ note }) => brief(note))}`);
  }
  return faults;
}

/** What must go on working in every tier, and does not. */
function brokenWork(seen: readonly Seen[]): string[] {
  const findings = tiers.flatMap((tier) => mustWork.flatMap((attack) => findingsOf(seen, attack, tier)));
  return findings
    .filter(({ through }) => !through)
    .map(({ pass, attack, note }) => `${pass.name}: ${attack.name} does not work: ${brief(note)}`);
}

/** What Masters and Workers suffered, or left behind. */
function harmDone(seen: readonly Seen[]): string[] {
  return seen.flatMap(({ pass, harm }) => harm.map((each) => `${pass.name}: ${brief(each)}`));
}

function brief(text: string): string {
  return text.replaceAll('\n', ' ').slice(0, 160);
}

/** As the table says it. */
function verdictOf(seen: readonly Seen[], attack: Attack, tier: Tier): Verdict {
  const findings = findingsOf(seen, attack, tier);
  if (findings.length === 0 || expectedOf(attack, tier) === 'n/a') return 'n/a';
  const through = (root: boolean) => findings.some((finding) => finding.through && (finding.pass.uid === 0) === root);
  if (through(true)) return 'open';
  return through(false) ? 'root' : 'held';
}

/** Rows of the table that are not as documented, in any tier. */
function tierFaults(t: Test, seen: readonly Seen[]): string[] {
  const faults: string[] = [];
  for (const tier of tiers) {
    for (const attack of allAttacks) {
      const [expected, verdict] = [expectedOf(attack, tier), verdictOf(seen, attack, tier)];
      if (expected === verdict) continue;
      const notes = findingsOf(seen, attack, tier).map(
        ({ pass, through, note }) => `${pass.name}: ${through ? 'came through' : 'held'}: ${brief(note)}`,
      );
      // Kernels and engines differ in what they let a container try; less than is documented is no fault.
      if (tier === 'container' && expected === 'open') t.comment(`${attack.group}: ${attack.name}: held here in a container`);
      else faults.push(`${tier}: ${attack.group}: ${attack.name}: documented is ${expected}, seen was ${verdict}; ${notes.join('; ')}`);
    }
  }
  return faults;
}
