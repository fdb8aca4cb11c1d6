import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ceilingOf } from '../../src/egress/policy.js';
import { asPeerworkError } from '../../src/errors.js';
import type { Workplace } from '../../src/job/runner.js';
import { readContainerJob } from '../../src/runners/container/settings.js';
import { readCrawlJob } from '../../src/runners/crawl/crawl-job.js';
import { listFolder } from '../../src/task/listing.js';
import { readTaskModuleSettings } from '../../src/task/task-settings.js';
import { readRun } from '../../src/wires/openfn/runner/openfn-runner.js';
import { removeFolder } from '../lab/remove-folder.js';

const job = { id: 'j1', channel: 'default', data: null, attempt: 1, timeoutMs: 0 };
const ceilings = { memoryMb: 512, defaultMemoryMb: 512, cpus: 2, pids: 512, diskMb: 64, network: ceilingOf('internet'), unfiltered: false };

/** The required settings in each runner's own task.json, and how the runner reads it. */
const runners = {
  'task-module': { settings: {}, read: async (text: string) => readTaskModuleSettings(text) },
  container: {
    settings: { image: 'a:1' },
    read: (_: string, place: Workplace) => readContainerJob(job, place, ceilings),
  },
  crawl: { settings: { actor: { startUrls: ['http://a.test/'] } }, read: (_: string, place: Workplace) => readCrawlJob(job, place, true) },
  openfn: { settings: { steps: [{ id: 'a' }] }, read: (_: string, place: Workplace) => readRun(job, place) },
} as const;
type Kind = keyof typeof runners;

/**
 * Every field of docs/tasks.md, docs/network.md, docs/tunnel.md and docs/jobs.md. `manifest`: the Master acts on it, whatever the runner
 * does.
 */
const fields: Readonly<Record<string, { readonly value: unknown; readonly acts: readonly Kind[]; readonly manifest?: true }>> = {
  tunnel: { value: 'redis', acts: ['task-module', 'container', 'crawl'], manifest: true },
  children: { value: { channels: ['page'] }, acts: ['task-module', 'container', 'crawl', 'openfn'], manifest: true },
  network: { value: 'none', acts: ['task-module', 'container', 'crawl'] },
  process: { value: 'per-job', acts: ['task-module'] },
  image: { value: 'b:1', acts: ['container', 'crawl'] },
  limits: { value: { memoryMb: 64 }, acts: ['container'] },
  containers: { value: 2, acts: ['crawl'] },
};

function taskOf(t: Test, kind: Kind, settings: object) {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-task-'));
  t.teardown(() => removeFolder(folder));
  const text = JSON.stringify({ runner: kind, ...runners[kind].settings, ...settings });
  writeFileSync(join(folder, 'task.json'), text);
  if (kind === 'task-module') writeFileSync(join(folder, 'task.mjs'), '');
  return { text, place: { digest: '', folder, entry: 'task.json', readable: [folder] } };
}

for (const kind of Object.keys(runners) as Kind[])
  for (const [field, { value, acts, manifest = false }] of Object.entries(fields)) {
    // OpenFn's own workflows have additional fields.
    if (kind === 'openfn' && !['tunnel', 'children', 'network', 'process'].includes(field)) continue;
    t.test(`${field} in the task.json of ${kind} acts, or is refused with its place`, async (t) => {
      const { text, place } = taskOf(t, kind, { [field]: value });
      const read = await runners[kind].read(text, place).then(
        (settings) => ({ settings }),
        (thrown: unknown) => ({ refused: asPeerworkError(thrown) }),
      );
      if (!acts.includes(kind)) {
        t.match(read, { refused: { code: /-invalid$/, detail: new RegExp(`task\\.json: ${field}: `) } }, JSON.stringify(read));
        return;
      }
      t.ok('settings' in read, JSON.stringify(read));
      if (manifest) t.match(await listFolder(place.folder), { [field]: value }, 'in the manifest, for the Master');
      else if (field !== 'limits') t.match(read, { settings: { [field]: value } });
      else t.match(read, { settings: { memoryMb: 64 } });
    });
  }

t.test('limits of a container are kept exactly, or refused with both numbers', async (t) => {
  const read = (limits: object) => {
    const { place } = taskOf(t, 'container', { limits });
    return readContainerJob(job, place, ceilings);
  };
  const all = { memoryMb: 512, cpus: 2, pids: 512, tmpMb: 512, stopGraceMs: 0 };
  t.match(await read(all), all);
  const refused = (limits: object, code: string, message: RegExp) => t.rejects(read(limits), { code, message });
  await refused({ memoryMb: 513 }, 'container-limits', /513 MiB of memory, allowed are 512/);
  await refused({ cpus: 2.5 }, 'container-limits', /2\.5 cores, allowed are 2/);
  await refused({ pids: 513 }, 'container-limits', /513 processes, allowed are 512/);
  await refused({ diskMb: 65 }, 'container-limits', /65 MiB of files, allowed are 64/);
  await refused({ memoryMb: 32, tmpMb: 33 }, 'container-limits', /33 MiB in \/tmp, .* allowed are 32/);
  await refused({ pids: 10 }, 'container-invalid', /task\.json: limits\.pids: with fewer than 64/);
  t.match(await read({ memoryMb: 32 }), { memoryMb: 32, tmpMb: 32, cpus: 1, pids: 256 }, 'what is not asked for fits');
});
