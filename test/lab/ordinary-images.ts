import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LabDocker } from './docker.js';

const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url));

/** Crawls as in Crawlee's documentation, with storage in the default place, and delivers as dory-core's contract requires. */
const crawler = `
import { readdirSync } from 'node:fs';
import { CheerioCrawler, Dataset } from '@crawlee/cheerio';
const { startUrls, maxPages, fill, exit } = JSON.parse(Buffer.from(process.env.ACTOR_CONFIG, 'base64').toString());
const { API_BASE_URL, WORKER_API_KEY, RUN_ID } = process.env;
console.log('user', process.getuid(), 'key', WORKER_API_KEY);
const crawler = new CheerioCrawler({
  maxRequestsPerCrawl: maxPages,
  async requestHandler({ request, $, enqueueLinks }) {
    await Dataset.pushData({ requestId: request.id, url: request.url, heading: $('h1').text() });
    await enqueueLinks();
  },
});
await crawler.run(startUrls);
console.log('storage', readdirSync('storage').sort().join(' '), readdirSync('storage/datasets/default').length);
const { items } = await Dataset.getData();
const headers = { 'content-type': 'application/json', 'x-api-key': WORKER_API_KEY };
await fetch(API_BASE_URL + '/api/runs/' + RUN_ID + '/results', { method: 'POST', headers, body: JSON.stringify(items) });
if (fill) {
  const { writeFileSync } = await import('node:fs');
  for (let n = 0; n < fill; n += 1) writeFileSync('storage/filling-' + n, Buffer.alloc(1024 * 1024));
  await new Promise((resolve) => setTimeout(resolve, 60_000));
}
if (exit) for (let n = 1; n <= 60; n += 1) console.error('line', n, 'before the end');
process.exitCode = exit ?? 0;
`;

/** Has Chromium print a page after its scripts have run; through the worker's proxy if there is one, which supports only CONNECT. */
const browser = `
import { execFile } from 'node:child_process';
import { connect, createServer } from 'node:net';
const { startUrls: [url], targets } = JSON.parse(Buffer.from(process.env.ACTOR_CONFIG, 'base64').toString());
const flags = ['--headless', '--no-sandbox', '--ignore-certificate-errors', '--virtual-time-budget=5000', '--dump-dom'];
const { PEERWORK_PROXY_SOCKET: socket, API_BASE_URL, WORKER_API_KEY, RUN_ID } = process.env;
if (socket) {
  const proxy = createServer((near) => {
    const far = connect(socket);
    near.pipe(far).pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => proxy.once('listening', resolve));
  flags.push('--proxy-server=http://127.0.0.1:' + proxy.address().port);
}
console.log('user', process.getuid());
const reaches = (target) => new Promise((resolve) => {
  const [host, port] = target.split(':');
  const there = connect(Number(port), host);
  there.once('connect', () => resolve(true)).once('error', () => resolve(false)).setTimeout(15_000, () => resolve(false));
});
if (targets) {
  for (const [at, yes] of (await Promise.all(targets.map(reaches))).entries()) if (yes) console.log('reached', targets[at]);
  process.exit(0);
}
execFile('/usr/lib/chromium/chromium', [...flags, url], async (error, stdout, stderr) => {
  console.log('dom', stdout.replaceAll('\\n', ' ').slice(0, 3000));
  if (error) console.error(stderr.slice(-2000), String(error.code), error.signal);
  process.exit(/wrote this/.test(stdout) ? 0 : 3);
});
`;

/** Returns a folder of node_modules and all of its dependencies there. */
function withDependencies(name: string, from = modules, found = new Map<string, string>()): ReadonlyMap<string, string> {
  let root = from;
  while (!existsSync(join(root, name)) && root !== modules) root = join(dirname(root), '..').replace(/\/node_modules\/?$/, '/node_modules');
  const folder = existsSync(join(root, name)) ? join(root, name) : join(modules, name);
  if (!existsSync(folder) || found.has(folder)) return found;
  found.set(folder, folder.slice(modules.length));
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies?: object };
  for (const each of Object.keys(dependencies)) {
    const nested = join(folder, 'node_modules');
    withDependencies(each, existsSync(join(nested, each)) ? nested : modules, found);
  }
  return found;
}

/**
 * Builds an image of Node, Crawlee from our own node_modules, and what Crawlee starts. Like an image from a registry, it knows
 * nothing about this worker.
 */
export async function crawleeImages(lab: LabDocker): Promise<{ readonly asRoot: string; readonly asUser: string }> {
  const files = Object.fromEntries([...withDependencies('@crawlee/cheerio')].map(([folder, path]) => [`node_modules${path}`, folder]));
  const base = await lab.image('peerwork-test/crawlee-base:1', {
    ...{ sh: true, node: true, programs: ['ps', 'mount', 'unshare', 'mknod'], files, homeOfUser: 'home/user', setuid: 'id' },
    texts: { 'app/main.mjs': crawler, 'home/user/main.mjs': crawler },
  });
  return variants(lab, base, 'peerwork-test/crawlee');
}

/** Builds images of this machine's Chromium, with and without the label of images that use the worker's proxy. */
export async function browserImages(
  lab: LabDocker,
): Promise<{ readonly asRoot: string; readonly asUser: string; readonly proxied: string }> {
  const libraries = ['libsoftokn3.so', 'libfreebl3.so', 'libfreeblpriv3.so', 'libnssckbi.so']
    .flatMap((name) => ['x86_64', 'aarch64'].map((arch) => `usr/lib/${arch}-linux-gnu/${name}`))
    .flatMap((path) => [path, path.replace(/\/([^/]*)$/, '/nss/$1')])
    .filter((path) => existsSync(`/${path}`));
  const parts = [
    'chromium',
    'icudtl.dat',
    'resources.pak',
    'v8_context_snapshot.bin',
    'snapshot_blob.bin',
    'locales',
    'chrome_crashpad_handler',
  ];
  const more = ['chrome_100_percent.pak', 'libEGL.so', 'libGLESv2.so', 'libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];
  const places = [...parts, ...more].map((part) => `usr/lib/chromium/${part}`).filter((path) => existsSync(`/${path}`));
  const all = [...places, ...libraries, 'etc/fonts', 'usr/share/fonts/truetype/dejavu', 'usr/share/fontconfig'];
  const files = Object.fromEntries(all.filter((path) => existsSync(`/${path}`)).map((path) => [path, `/${path}`]));
  const base = await lab.image('peerwork-test/browser-base:1', {
    ...{ sh: true, node: true, programs: ['mount', 'unshare', 'mknod'], files, homeOfUser: 'home/user', setuid: 'id' },
    texts: { 'app/main.mjs': browser, 'home/user/main.mjs': browser },
  });
  const images = await variants(lab, base, 'peerwork-test/browser');
  const proxied = await lab.build('peerwork-test/browser-proxied:1', [`FROM ${images.asUser}`, 'LABEL peerwork.egress=proxy']);
  return { ...images, proxied };
}

async function variants(lab: LabDocker, base: string, name: string): Promise<{ readonly asRoot: string; readonly asUser: string }> {
  const entry = 'ENTRYPOINT ["node", "main.mjs"]';
  return {
    asRoot: await lab.build(`${name}:root`, [`FROM ${base}`, 'WORKDIR /app', 'USER 0', entry]),
    asUser: await lab.build(`${name}:user`, [`FROM ${base}`, 'WORKDIR /home/user', 'ENV HOME=/home/user', 'USER 1000:1000', entry]),
  };
}
