import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown, link, mkdir, readdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { textHash } from '../../src/task/canonical-json.js';
import { checkLayer } from '../../src/task/check-layer.js';
import { DependencyLayers } from '../../src/task/layers.js';
import { checkLock, makeLock } from '../../src/task/make-lock.js';
import { type NpmOptions, runNpm } from '../../src/task/npm.js';
import { npmrcOf, readIni, readNpmSettings, registryPairs } from '../../src/task/npm-settings.js';
import { setCanaries } from '../attacks/dependencies/canary.js';
import { type Published, SmallRegistry } from '../attacks/dependencies/small-registry.js';
import { findTool, requireTools } from '../lab/require.js';
import { writeTree } from './fixtures.js';
import { home } from './home.js';

const variable = (name: string) => `\${${name}}`;
const none = { npmFolder: '/nowhere', scopes: [] };

t.test("of the owner's settings what leads to a registry, and no more", async (t) => {
  const folder = await home(t);
  const userFile = join(folder, '.npmrc');
  const text = [
    '; a comment',
    'registry = "https://r.example/npm/"',
    '//r.example/npm/:_authToken=top-secret',
    '//r.example/:username=someone',
    '//other.example/:_authToken=other-secret',
    '_authToken=old-secret',
    '@corp:registry=https://r.example/npm/corp/',
    '@other:registry=https://other.example/',
    `https-proxy=http://user:${variable('PROXY_PASSWORD')}@proxy.example:3128`,
    'noproxy=localhost,.example ; not this',
    'strict-ssl=false',
    'cafile=~/ca.pem',
    'ignore-scripts=false',
    'script-shell=/bin/evil',
    'node-options=--require /evil.js',
    'git=/bin/evil',
    'init-module=~/x',
    '[section]',
    'registry=https://not.example/',
  ];
  await writeTree(folder, { '.npmrc': text.join('\n'), 'ca.pem': 'PEM', 'extra.pem': 'EXTRA' });
  const environment = {
    HOME: folder,
    PROXY_PASSWORD: 'pw',
    NODE_EXTRA_CA_CERTS: join(folder, 'extra.pem'),
    npm_config_globalconfig: '/none',
  };
  const settings = await readNpmSettings({ ...none, environment });
  t.same(settings, {
    registry: 'https://r.example/npm/',
    scopes: new Map(),
    httpsProxy: 'http://user:pw@proxy.example:3128',
    noProxy: 'localhost,.example',
    strictSsl: false,
    ca: 'PEM',
    extraCa: 'EXTRA',
  });
  const written = npmrcOf(settings, [], '/ca.pem');
  t.notMatch(written, /secret|_auth|@corp|@other|evil|script|git/);
  t.same(registryPairs(settings, []), ['r.example:443', 'proxy.example:3128']);
  t.same(readIni(written, {}).get('registry'), ['https://r.example/npm/'], 'npm reads what was written');

  const corp = await readNpmSettings({ ...none, environment, scopes: ['@corp'] });
  t.same(corp.scopes.get('@corp'), {
    registry: 'https://r.example/npm/corp/',
    credentials: { '//r.example/npm/:_authToken': 'top-secret', '//r.example/:username': 'someone' },
  });
  t.notMatch(npmrcOf(corp, ['@corp'], '/ca.pem'), /other-secret|old-secret|other\.example/);
  const byEnvironment = {
    ...environment,
    npm_config_registry: 'http://10.0.0.5:4873',
    NPM_CONFIG_STRICT_SSL: 'true',
    npm_config_userconfig: userFile,
  };
  t.match(await readNpmSettings({ ...none, environment: byEnvironment }), { registry: 'http://10.0.0.5:4873', strictSsl: true });
  const npmFolder = join(execFileSync('npm', ['root', '-g'], { encoding: 'utf8' }).trim(), 'npm');
  const unset = await readNpmSettings({ ...none, npmFolder, environment: { HOME: '/nowhere', npm_config_registry: 'file:///etc' } });
  t.match(unset.registry, /^https:\/\//, "npm's own, where the owner names none that can be used");
});

t.test('files of npm are read as npm reads them', async (t) => {
  const read = (text: string) => Object.fromEntries(readIni(text, { A: 'x', B: '$A' }));
  const [a, b, missing, empty] = ['A', 'B', 'NONE', 'NONE?'].map(variable);
  t.same(read(`a=${a}\nb=${missing}\nc=${empty}\nd=\\${a}\ne=${b}`), { a: ['x'], b: [missing], c: [''], d: [a], e: ['$A'] });
  t.same(read('ca[]=one\nca[] = two\r\nflag\n"quoted" = \'single\'\n#x\n;y'), { ca: ['one', 'two'], flag: ['true'], quoted: ['single'] });
  t.same(read('a=1;2\nb=1\\;2\nc="1;2"'), { a: ['1'], b: ['1;2'], c: ['1;2'] });
});

interface Bed {
  readonly folder: string;
  readonly registry: SmallRegistry;
  install(
    packages: readonly Published[],
    npm: NpmOptions,
    options?: { readonly scripts?: boolean; readonly sha1?: boolean },
  ): Promise<string>;
}

/** `userFile` returns additional lines of the owner's .npmrc, which names the registry. */
async function setUp(t: Test, userFile: (url: string) => string = () => ''): Promise<Bed & { readonly environment: NodeJS.ProcessEnv }> {
  const folder = await home(t);
  const registry = await SmallRegistry.start();
  t.teardown(() => registry.close());
  await writeTree(folder, { 'owner/.npmrc': `registry=${registry.url}\n${userFile(registry.url)}` });
  const environment = {
    PATH: process.env['PATH'],
    HOME: join(folder, 'owner'),
    npm_config_globalconfig: '/none',
    PEERWORK_TEST: 'pw1.secret',
  };
  let count = 0;
  const install: Bed['install'] = async (packages, npm, { scripts = false, sha1 = false } = {}) => {
    count += 1;
    const dependencies = Object.fromEntries(packages.map(({ name, version }) => [name, version]));
    const entries = packages.map(({ name, version, integrity, sha1: digest, manifest }) => [
      `node_modules/${name}`,
      {
        ...manifest,
        version,
        integrity: sha1 ? `sha1-${Buffer.from(digest, 'hex').toString('base64')}` : integrity,
        hasInstallScript: true,
      },
    ]);
    const lock = JSON.stringify({ lockfileVersion: 3, packages: { '': { dependencies }, ...Object.fromEntries(entries) } });
    const layers = new DependencyLayers({ folder: join(folder, `layers-${count}`), allowScripts: scripts, npm: { environment, ...npm } });
    const request = { packageJson: JSON.stringify({ dependencies }), lockSha256: textHash(lock), lock: async () => lock };
    return (await layers.ensure(request)).nodeModules;
  };
  return { folder, registry, install, environment };
}

/** What an install script can access, written into a file of its package. */
const PROBE = `
const fs = require('fs'), net = require('net'), cp = require('child_process');
const seen = { env: process.env };
const attempt = (name, work) => { try { seen[name] = String(work()); } catch (error) { seen[name] = null; } };
attempt('owner', () => fs.readFileSync(process.argv[2]));
attempt('settings', () => cp.execSync('cat ../../.npm-settings-*/npmrc', { stdio: ['ignore', 'pipe', 'ignore'] }));
attempt('cache', () => fs.readdirSync('../../.npm-cache/_cacache'));
attempt('shell', () => cp.execSync('echo from a shell'));
const socket = net.connect(Number(process.argv[3]), '127.0.0.1', () => end('open')).on('error', () => end('closed'));
function end(network) { fs.writeFileSync('seen.json', JSON.stringify({ ...seen, network })); socket.destroy(); }
`;

t.test('install scripts run behind the wall: a shell, and nothing of the owner', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  const { folder, registry, install } = await setUp(t, (url) => `${url.replace('http:', '')}:_authToken=top-secret\n`);
  const canaries = await setCanaries(join(folder, 'canaries'), ['127.0.0.1']);
  t.teardown(() => canaries.close());
  const port = new URL(canaries.addresses[0] ?? '').port;
  const scripts = { install: `node probe.js ${join(canaries.folder, '.env')} ${port}` };
  const probe = registry.publish('@corp/probe', '1.0.0', { scripts, bin: 'probe.js' }, { 'probe.js': PROBE });
  const modules = await install([probe], { sandbox: 'required', credentials: ['@corp'] }, { scripts: true });
  const seen = JSON.parse(readFileSync(join(modules, '@corp/probe/seen.json'), 'utf8'));
  t.match(seen, { owner: null, cache: null, network: 'closed', shell: /from a shell/ });
  t.notMatch(JSON.stringify(seen), /top-secret|pw1\.secret/, 'neither credentials nor our environment');
  t.equal(canaries.touched.size, 0);
  t.ok(existsSync(join(modules, '.bin/probe')), 'commands are linked');
});

t.test('credentials of a private registry', async (t) => {
  const { registry, install } = await setUp(t, (url) => `@corp:registry=${url}\n${url.replace('http:', '')}:_authToken=top-secret\n`);
  registry.closed = { scope: '@corp', authorization: 'Bearer top-secret' };
  const tool = registry.publish('@corp/tool', '1.0.0');
  const ms = registry.publish('ms', '1.0.0');
  await t.rejects(install([tool], {}), { code: 'dependencies-failed', message: /401/ }, 'not unless the owner allows it');
  await t.rejects(install([tool], { credentials: ['@cor'] }), { code: 'dependencies-failed' }, 'for another scope');
  await install([ms], { credentials: ['@corp'] });
  t.same(registry.shown.filter(Boolean), [], 'nor for a task that has no package of the scope');
  for (const sandbox of ['auto', 'off'] as const) {
    const modules = await install([tool, ms], { credentials: ['@corp'], sandbox });
    t.ok(existsSync(join(modules, '@corp/tool/index.js')), `sandbox ${sandbox}`);
  }
});

t.test('SHA-1 only where the registry has nothing better', async (t) => {
  const { registry, install, environment } = await setUp(t);
  const old = registry.publish('old', '0.1.0', {}, {}, true);
  const ms = registry.publish('ms', '1.0.0');
  t.ok(existsSync(join(await install([old], {}, { sha1: true }), 'old/index.js')));
  await t.rejects(install([ms], {}, { sha1: true }), { code: 'dependencies-refused', message: /stronger digest/ });
  await t.rejects(install([{ ...old, sha1: '00'.repeat(20) }], {}, { sha1: true }), {
    code: 'dependencies-refused',
    message: /another SHA-1/,
  });
  const integrity = `sha1-${Buffer.from(ms.sha1, 'hex').toString('base64')}`;
  const lock = JSON.stringify({ lockfileVersion: 3, packages: { 'node_modules/ms': { version: '1.0.0', integrity } } });
  const run = { signal: new AbortController().signal, npm: { environment } };
  await t.rejects(checkLock('{"dependencies":{"ms":"1"}}', lock, run), { code: 'dependencies-refused' }, 'the same before it is published');
});

t.test('a registry that sends npm elsewhere', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  const { folder, registry, install } = await setUp(t);
  const canaries = await setCanaries(join(folder, 'canaries'), ['127.0.0.1']);
  t.teardown(() => canaries.close());
  registry.elsewhere = canaries.addresses[0];
  const ms = registry.publish('ms', '1.0.0');
  await t.rejects(install([ms], { sandbox: 'required' }), {
    code: 'dependencies-failed',
    message: /wanted to reach 127\.0\.0\.1:\d+, which is not the registry/,
  });
  t.equal(canaries.touched.size, 0);
});

t.test('a lockfile is made behind the wall too, from registry packages alone', async (t) => {
  const { folder, registry, environment } = await setUp(t);
  const canaries = await setCanaries(join(folder, 'canaries'), ['127.0.0.1']);
  t.teardown(() => canaries.close());
  registry.publish('wants-lan', '1.0.0', { dependencies: { x: canaries.addresses[0] } });
  registry.publish('wants-folder', '1.0.0', { dependencies: { x: `file:${canaries.folder}` } });
  const signal = new AbortController().signal;
  for (const sandbox of ['auto', 'off'] as const) {
    for (const name of ['wants-lan', 'wants-folder']) {
      const fields = JSON.stringify({ dependencies: { [name]: '1' } });
      const run = { signal, npm: { environment, sandbox } };
      const making = makeLock(fields, run).then((lock) => checkLock(fields, lock, run));
      // npm itself refuses it or, with an older npm, its result is refused.
      await t.rejects(making, { code: /^dependencies-(?:unlocked|refused)$/ }, `${name}, sandbox ${sandbox}`);
    }
    // Without a sandbox an older npm connects to the address before it is refused.
    if (sandbox === 'auto' && findTool('bwrap') !== undefined) t.equal(canaries.touched.size, 0);
  }
});

t.test('no npm', async (t) => {
  const run = { cwd: await home(t), timeoutMs: 10_000, signal: AbortSignal.abort() };
  await t.rejects(runNpm(['ping'], run), { code: 'cancelled' });
});

t.test('what npm has made is looked through before it becomes a layer', { skip: process.platform === 'win32' }, async (t) => {
  const places = [{ place: 'node_modules/ms', name: 'ms', version: '1.0.0', integrity: '' }];
  const make = async (t: Test) => {
    const outer = await home(t);
    const folder = join(outer, 'layer');
    await writeTree(outer, {
      'outside.js': 'x',
      'layer/node_modules/ms/index.js': 'x',
      'layer/node_modules/.bin/.keep': '',
      'layer/package.json': '{}',
    });
    return { outer, folder, file: (name: string) => join(folder, 'node_modules', name) };
  };
  const refused = { code: 'dependencies-failed' };
  const { folder, file } = await make(t);
  await symlink('../ms/index.js', file('.bin/ms'));
  await link(file('ms/index.js'), file('ms/same.js'));
  await chmod(file('ms'), 0o700);
  await checkLayer(folder, places);
  t.same(await readdir(folder), ['node_modules'], 'what else lay there is gone');

  const attempts: Record<string, (bed: Awaited<ReturnType<typeof make>>) => Promise<unknown>> = {
    'a link out': ({ file, outer }) => symlink(join(outer, 'outside.js'), file('ms/link.js')),
    'a relative link out': ({ file }) => symlink('../../../outside.js', file('ms/link.js')),
    'a link inside that is no command': ({ file }) => symlink('index.js', file('ms/link.js')),
    'a command out': ({ file }) => symlink('../../../outside.js', file('.bin/x')),
    'a command through another link': async ({ file, outer }) => {
      await mkdir(file('ms/node_modules/.bin'), { recursive: true });
      await symlink(outer, file('.bin/x'));
      await symlink('../../../.bin/x/outside.js', file('ms/node_modules/.bin/y'));
    },
    'a command that leads nowhere': ({ file }) => symlink('../gone/x.js', file('.bin/x')),
    'a folder out for a package': async ({ file, outer }) => {
      await rename(file('ms'), join(outer, 'ms'));
      await symlink(join(outer, 'ms'), file('ms'));
    },
    'a folder out for all': async ({ folder, outer }) => {
      await rename(join(folder, 'node_modules'), join(outer, 'all'));
      await symlink(join(outer, 'all'), join(folder, 'node_modules'));
    },
    'a pipe': async ({ file }) => execFileSync('mkfifo', [file('ms/pipe')]),
    'a program of another user': ({ file }) => chmod(file('ms/index.js'), 0o4755),
    'a second name outside': ({ file, outer }) => link(file('ms/index.js'), join(outer, 'second.js')),
    'a package that was not planned': ({ file }) => mkdir(file('other')),
    'a package of a scope that was not planned': ({ file }) => mkdir(file('@x/ms'), { recursive: true }),
    ...(process.getuid?.() === 0 && { 'a file of another user': ({ file }) => chown(file('ms/index.js'), 12_345, 12_345) }),
  };
  for (const [name, attempt] of Object.entries(attempts)) {
    const bed = await make(t);
    await writeFile(bed.file('.bin/.keep'), '');
    await attempt(bed);
    await t.rejects(checkLayer(bed.folder, places), refused, name);
  }
});
