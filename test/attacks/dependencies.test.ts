import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { findTool, requireTools } from '../lab/require.js';
import { home } from '../task/home.js';
import type { LabReport } from './dependencies/lab.js';

const run = promisify(execFile);
/** How many documents are tried, and how many of the trees that pass are installed by the whole product. */
const DOCUMENTS = process.env['PEERWORK_ATTACK_DOCUMENTS'] ?? '20000';
const LAYERS = process.env['PEERWORK_ATTACK_LAYERS'] ?? '40';
const SEED = process.env['PEERWORK_ATTACK_SEED'] ?? '20261130';
const HOSTS = ['127.0.0.1', '192.168.77.1', '10.9.8.7', '169.254.169.254'];

t.test('seeded hostile manifests and lockfiles against the real npm, among canaries', async (t) => {
  if (!requireTools(t, { unshare: 'util-linux', ip: 'iproute2', npm: 'npm' })) return;
  const folder = await home(t);
  const lab = fileURLToPath(new URL('dependencies/lab.js', import.meta.url));
  const addresses = HOSTS.slice(1).map((host) => `ip address add ${host}/32 dev lo`);
  const script = ['set -e', 'ip link set lo up', ...addresses, 'exec "$@"'].join('; ');
  const namespace = process.getuid?.() === 0 ? ['--net'] : ['--net', '--user', '--map-root-user'];
  const sandbox = findTool('bwrap') === undefined ? 'off' : 'required';
  const program = [process.execPath, lab, folder, SEED, DOCUMENTS, LAYERS, sandbox, ...HOSTS];
  const { stdout } = await run('unshare', [...namespace, '--', 'sh', '-c', script, 'sh', ...program], { maxBuffer: 1e8 });
  const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as LabReport;
  const { documents, refused, trees, installed, layers, codes, tripped } = report;
  t.comment(
    `${documents} documents: ${refused} refused, ${trees} different trees given to npm, ${installed} installed, ${layers} as layers`,
  );
  t.same(report.wrong, [], 'no file outside read, no connection but to the registry, nothing that no registry has');
  t.equal(String(documents), DOCUMENTS);
  t.same(Object.keys(codes), ['dependencies-refused'], 'every refusal has its code, none is a mistake of the check');
  t.ok(trees >= 25 && installed >= 20 && layers >= 3, 'the check lets good ones through');
  t.comment(`without the check npm runs into: ${tripped.join(', ')}`);
  for (const each of ['folder', 'loopback', 'LAN', 'LAN by what a missing package wants'])
    t.ok(tripped.includes(each), `${each}: the canary sings`);
});
