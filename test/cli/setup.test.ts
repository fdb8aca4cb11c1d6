import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { checkSandbox } from '../../src/cli/health/machine.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { createToken, formatToken } from '../../src/swarm/token.js';
import { packageRoot } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { OwnersFolder } from '../lab/service.js';
import { until } from '../lab/until.js';

const token = formatToken(createToken({ publicKey: nodePrimitives.randomBytes(32), trackers: ['ws://127.0.0.1:1'] }, nodePrimitives));
const absent = { PEERWORK_BUBBLEWRAP: '/nowhere/bwrap' };
const warning = /^No sandbox: malicious task code can do anything this user can[^\n]*\nInstall bubblewrap: `[^\n]+`\.\n$/;

t.test('without a terminal, set-up writes, and says in two lines where there is no sandbox', async (t) => {
  const owner = new OwnersFolder({ env: absent });
  t.teardown(() => owner.close());
  const setUp = ['worker', '--setup', '--token', token, '--name', 'attic', '--concurrency', '2'];
  t.match(await owner.type(...setUp), { code: 0, stdout: /^Written to/, stderr: warning });
  t.match(readFileSync(owner.file('.env'), 'utf8'), 'name=attic');
  t.match(await owner.type('configure', '--memory-mb', '64'), { code: 0, stderr: warning });
  t.match(await owner.type(...setUp, '--sandbox', 'off'), {
    code: 0,
    stderr: /^No sandbox[^\n]*\nSwitch it on with `--sandbox auto`\.\n$/,
  });
  const demanded = await owner.type(...setUp, '--sandbox', 'required');
  t.match(demanded, { code: 0, stderr: /\nThe Worker will not start as it is\. Install bubblewrap/ });
});

t.test('where there is a sandbox, set-up says nothing of it', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  const owner = new OwnersFolder();
  t.teardown(() => owner.close());
  t.match(await owner.type('setup', '--token', token, '--name', 'attic'), { code: 0, stderr: '' });
});

t.test('on a terminal, set-up asks whether to go on, unless that was said already', async (t) => {
  if (!requireTools(t, { script: 'bsdutils' })) return;
  const answers = [
    ['Go on without a sandbox?', 'n\r'],
    ['Go on without a sandbox?', 'y\r'],
    ['', ''],
  ] as const;
  for (const [question, key] of answers) {
    const owner = new OwnersFolder();
    t.teardown(() => owner.close());
    const flags = `--name attic --concurrency 1 --memory-mb 64 --no-allow-install-scripts${question === '' ? ' --sandbox auto' : ''}`;
    const run = `${process.execPath} ${join(packageRoot, 'bin', 'peerwork.js')} setup ${flags}`;
    const env = { ...absent, PEERWORK_SANDBOX: '', token };
    const terminal = execa('script', ['-qec', run, '/dev/null'], { cwd: owner.path, env, stdin: 'pipe', reject: false, timeout: 240_000 });
    let seen = '';
    let ended = false;
    terminal.stdout.on('data', (chunk) => {
      seen += String(chunk);
    });
    void terminal.finally(() => {
      ended = true;
    });
    await until(() => ended || seen.includes('Enter keeps the present one'));
    terminal.stdin.write('\r');
    if (question !== '') {
      await until(() => ended || seen.includes(question));
      terminal.stdin.write(key);
    }
    const { exitCode } = await terminal;
    t.match(seen, /No sandbox: malicious task code/);
    t.equal(exitCode, key === 'n\r' ? 130 : 0, seen);
    t.equal(existsSync(owner.file('.env')), key !== 'n\r');
  }
});

t.test('health warns where there is none, also where the owner wants none', async (t) => {
  const options = { sandbox: 'auto', taskNetwork: undefined, memoryMb: 64, bubblewrap: '/nowhere/bwrap' } as const;
  t.match(await checkSandbox(options), { state: 'warn', detail: /no wall/, hint: /^Install bubblewrap: `/ });
  t.match(await checkSandbox({ ...options, sandbox: 'off' }), { state: 'warn', hint: /--sandbox auto/ });
  t.match(await checkSandbox({ ...options, sandbox: 'required' }), { state: 'fail' });
});

t.test('labels that a Worker finds out by itself are refused from its owner', async (t) => {
  const owner = new OwnersFolder({ env: { token } });
  t.teardown(() => owner.close());
  for (const label of ['isolation=bwrap', 'os=plan9', 'ARCH=arm64', ' isolation =container']) {
    t.match(await owner.type('worker', '--label', label), { code: 2, stderr: /isolation=, which the Worker sets itself/ });
  }
});
