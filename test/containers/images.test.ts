import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { CommandLine } from '../../src/containers/command-line.js';
import { findProgram } from '../../src/containers/find-engine.js';
import { fullImageName, isAllowedImage } from '../../src/containers/image-names.js';
import { Images, type ImagesOptions } from '../../src/containers/images.js';
import type { Json } from '../../src/job/job.js';
import { insideDockerLab } from '../lab/docker.js';
import { LabRegistry } from '../lab/registry.js';
import { removeFolder } from '../lab/remove-folder.js';

const never = new AbortController().signal;
const lab = await insideDockerLab(t, import.meta.url);

if (lab !== undefined) {
  const registry = await LabRegistry.start(lab, await lab.tinyImage());
  t.teardown(() => registry.close());

  const openImages = async (t: Test, options: Partial<ImagesOptions> = {}) => {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'peerwork-images-')));
    t.teardown(() => removeFolder(folder));
    const command = new CommandLine(findProgram('docker', process.env) ?? '', process.env);
    const defaults = { command, folder, pull: 'missing', pullTimeoutMs: 60_000, quotaBytes: 1e12, clock: systemClock } as const;
    return { folder, images: await Images.open({ ...defaults, ...options }) };
  };
  const isHere = async (image: string) => (await lab.docker('images', '-q', image)) !== '';

  t.test('an image that is missing is pulled once for all who want it, and its progress is told', async (t) => {
    const { images } = await openImages(t);
    const image = registry.image('once:1');
    const progress: Json[] = [];
    const wish = { signal: never, onProgress: (value: Json) => progress.push(value) };
    const held = await Promise.all([images.hold(image, wish), images.hold(image, wish)]);
    for (const { id, release } of held) {
      t.match(id, /^(?:sha256:)?[0-9a-f]{64}$/);
      release();
    }
    t.same(registry.pulls, ['once:1']);
    t.same(progress[0], { pull: image, layers: 0, done: 0 });
    (await images.hold(image, { signal: never })).release();
    t.same(registry.pulls, ['once:1'], 'and not again');
  });

  t.test('the policy says when to pull', async (t) => {
    const image = registry.image('policy:1');
    const { images: careful } = await openImages(t, { pull: 'never' });
    await t.rejects(careful.hold(image, { signal: never }), { code: 'image-missing', message: /may not be pulled/ });
    const { images: eager } = await openImages(t, { pull: 'always' });
    registry.pulls.length = 0;
    for (let round = 0; round < 2; round += 1) (await eager.hold(image, { signal: never })).release();
    t.same(registry.pulls, ['policy:1', 'policy:1']);
    (await careful.hold(image, { signal: never })).release();
  });

  t.test('a pull that cannot be is a clear error, one that nobody wants any more is given up', async (t) => {
    const { images } = await openImages(t, { pullTimeoutMs: 2_000 });
    await t.rejects(images.hold(registry.image('missing:1'), { signal: never }), {
      code: 'image-missing',
      message: /missing:1: .*(not found|unknown)/,
    });
    registry.silent = true;
    t.teardown(() => {
      registry.silent = false;
    });
    await t.rejects(images.hold(registry.image('slow:1'), { signal: never }), { code: 'image-missing', message: /longer than 2 s/ });
    const patient = await openImages(t);
    const cancel = new AbortController();
    const waiting = patient.images.hold(registry.image('slow:2'), {
      signal: cancel.signal,
      onProgress: () => setImmediate(() => cancel.abort()),
    });
    await t.rejects(waiting, { code: 'cancelled' });
  });

  t.test('images that this worker pulled are held to a quota, the owner’s own are not touched', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'peerwork-images-'));
    const names = ['quota:1', 'quota:2', 'quota:3'].map((name) => registry.image(name));
    const own = registry.image('own:1');
    await lab.docker('pull', own);
    let now = 1_000;
    const clock = { ...systemClock, now: () => now, wall: () => now };
    const { images } = await openImages(t, { folder, clock });
    const [first = '', second = '', third = ''] = names;
    const size = (await images.inspect(own))?.bytes ?? 0;
    for (const image of [own, first, second]) {
      now += 1;
      (await images.hold(image, { signal: never })).release();
    }
    t.notMatch(await readFile(join(folder, 'images.json'), 'utf8'), /own/);
    now += 1;
    (await images.hold(first, { signal: never })).release();
    // After a restart, with room for two.
    const { images: next } = await openImages(t, { folder, clock, quotaBytes: 2 * size });
    now += 1;
    const held = await next.hold(third, { signal: never });
    t.same(await Promise.all([own, first, second, third].map(isHere)), [true, true, false, true], 'what was not used for longest goes');
    const { images: full } = await openImages(t, { folder, clock, quotaBytes: 0 });
    const using = await full.hold(third, { signal: never });
    await full.tidy();
    t.same(await Promise.all([own, first, third].map(isHere)), [true, false, true], 'what is in use stays');
    using.release();
    held.release();
  });
} else {
  t.test('names in their long form', async (t) => {
    for (const [short, long] of [
      ['node', 'docker.io/library/node:latest'],
      ['node:20', 'docker.io/library/node:20'],
      ['docker.io/node:20', 'docker.io/library/node:20'],
      ['acme/tool', 'docker.io/acme/tool:latest'],
      ['ghcr.io/acme/tool:1', 'ghcr.io/acme/tool:1'],
      ['localhost:5000/x', 'localhost:5000/x:latest'],
      ['localhost/x:1', 'localhost/x:1'],
    ] as const)
      t.equal(fullImageName(short), long);
    for (const name of ['', '-x', '--privileged', 'A', 'a b', 'a:b c', '/a', 'a/../b', 'a@sha256:12', 'x'.repeat(500)])
      t.throws(() => fullImageName(name), { code: 'container-invalid' }, name);
  });

  t.test('the list of the owner allows names, tags, folders, or all', async (t) => {
    const allows = (pattern: string, ...images: string[]) => images.map((image) => isAllowedImage(image, [pattern]));
    t.same(allows('node', 'node', 'node:20', 'docker.io/library/node:20-slim', 'nodes', 'evil/node'), [true, true, true, false, false]);
    t.same(allows('node:20', 'node:20', 'node:20-slim', 'node'), [true, false, false]);
    t.same(allows('node:20*', 'node:20', 'node:20-slim', 'node:18'), [true, true, false]);
    t.same(allows('ghcr.io/acme/*', 'ghcr.io/acme/a:1', 'ghcr.io/acme/b/c', 'ghcr.io/acmes/a', 'acme/a'), [true, true, false, false]);
    t.same(allows('a.b/c', 'a.b/c', 'axb/c'), [true, false], 'a dot is a dot');
    t.same(allows('*', 'node', 'ghcr.io/x'), [true, true]);
    t.equal(isAllowedImage('node', undefined), true);
    t.equal(isAllowedImage('node', []), false);
  });
}
