import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { installCommand } from '../../../../src/sandbox/remedy.js';
import { engineStep } from '../../../../src/wires/dory/commands/docker.js';

/** Creates a PATH with only these programs, each a script. */
function pathWithOnly(t: Test, programs: Readonly<Record<string, string>>): string {
  const folder = t.testdir({});
  for (const [name, script] of Object.entries(programs)) writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const before = process.env['PATH'];
  process.env['PATH'] = folder;
  t.teardown(() => {
    process.env['PATH'] = before;
  });
  return folder;
}

const wish = { engine: 'auto', yes: false, noInstall: false } as const;
const isRoot = process.getuid?.() === 0;

t.test('without apt the package is named', { skip: process.platform !== 'linux' }, async (t) => {
  pathWithOnly(t, {});
  const { check, engine } = await engineStep(wish, () => {});
  t.equal(engine, undefined);
  t.match(check, {
    state: 'fail',
    detail: /docker is not installed/,
    hint: /^Install it, by `.+`, and then set-up again\.$/,
  });
});

t.test('with apt, but not allowed to: it is named as well', { skip: process.platform !== 'linux' }, async (t) => {
  const folder = pathWithOnly(t, { 'apt-get': 'echo "$@" >> "$(/usr/bin/dirname "$0")/called"' });
  const { check } = await engineStep({ ...wish, noInstall: true }, () => {});
  t.match(check, { state: 'fail', detail: /--no-install/, hint: /Install it, by/ });
  t.throws(() => readFileSync(join(folder, 'called')));
});

t.test(
  'an installation that fails is tried again with new lists, and then says how to go on',
  { skip: process.platform !== 'linux' || !isRoot },
  async (t) => {
    const folder = pathWithOnly(t, { 'apt-get': 'echo "$@" >> "$(/usr/bin/dirname "$0")/called"; [ "$1" = update ]' });
    const { check } = await engineStep(wish, () => {});
    t.match(check, { state: 'fail', detail: /docker\.io could not be installed: .*exit code 1/, hint: /Install it, by/ });
    t.same(readFileSync(join(folder, 'called'), 'utf8').trim().split('\n'), [
      'install --yes docker.io',
      'update',
      'install --yes docker.io',
    ]);
  },
);

t.test('an engine that is installed and does not answer is not installed again', async (t) => {
  const folder = pathWithOnly(t, {
    docker: 'echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1',
    'apt-get': 'echo "$@" >> "$(/usr/bin/dirname "$0")/called"',
  });
  const { check } = await engineStep({ ...wish, engine: 'docker', noInstall: true }, () => {});
  t.match(check, { state: 'fail', detail: /permission denied/, hint: /usermod -aG docker/ });
  t.throws(() => readFileSync(join(folder, 'called')));
});

t.test('a package has the name that the system gives it', async (t) => {
  const on = (release: string, names: Parameters<typeof installCommand>[0]) =>
    installCommand(names, { platform: 'linux', isRoot: true, read: (path) => (path === '/etc/os-release' ? release : undefined) });
  const names = { other: 'docker', debian: 'docker.io', fedora: 'moby-engine', rhel: 'podman' };
  t.equal(on('ID=zorin\nID_LIKE="ubuntu debian"\n', names), 'apt install docker.io');
  t.equal(on('ID=fedora\n', names), 'dnf install moby-engine');
  t.equal(on('ID=rhel\nID_LIKE=fedora\n', names), 'dnf install podman');
  t.equal(on('ID=arch\n', names), 'pacman -S docker');
  t.equal(on('ID=mine\n', names), '<package manager> install docker');
});
