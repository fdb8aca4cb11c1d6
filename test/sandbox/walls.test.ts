import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { findSandbox } from '../../src/sandbox/sandbox.js';
import { isFiltered } from '../../src/sandbox/seccomp.js';
import { findTool, requireThat, requireTools } from '../lab/require.js';
import type { Trial } from '../lab/sandbox-trial.js';
import { runAs, users } from '../lab/users.js';

const program = fileURLToPath(new URL('../lab/sandbox-trial.js', import.meta.url));
/** As in lab/sandbox-trial.ts, which is a program and cannot be imported. */
const HOME = "a home' of its own";
const NOTHING = '0000000000000000';
const EPERM = 1;
const ENOENT = 2;
const ESRCH = 3;

async function trial(t: Test, user: 'root' | 'ordinary', sandbox: 'required' | 'off'): Promise<Trial> {
  const seen: Trial = JSON.parse(await runAs(t, user, program, [sandbox]));
  t.strictSame(seen.left, [HOME], 'no filter and no folder of a trial is left');
  return seen;
}

for (const user of users) {
  t.test(`bubblewrap started as ${user}: no refused call, no capability, no more processes, nothing of the machine`, async (t) => {
    if (!requireTools(t, { bwrap: 'bubblewrap', perl: 'perl', prlimit: 'util-linux', setpriv: 'util-linux' })) return;
    if (!requireThat(t, isFiltered(process.arch), `no filter for ${process.arch}`)) return;
    const wish = { sandbox: 'auto', network: 'allow', memoryMb: 256, scratchBytes: 2 ** 30, bubblewrap: findTool('bwrap') ?? '' } as const;
    const works = (await findSandbox(wish)).tier === 'bwrap';
    if (!requireThat(t, works, 'bubblewrap is not allowed to make namespaces here')) return;

    const seen = await trial(t, user, 'required');
    t.match(seen.line, /^bubblewrap \+ seccomp,.* no user namespaces, 256 processes/);
    t.ok(seen.line.length <= 200);
    t.strictSame(seen.escaped, [], 'every call of the table ends as it says');
    t.match(seen.status, { CapPrm: NOTHING, CapEff: NOTHING, NoNewPrivs: '1', Seccomp: '2' });
    t.not(seen.status['Uid'], '0');
    t.strictSame(seen.devices, ['fd', 'full', 'null', 'random', 'shm', 'urandom', 'zero']);
    t.notOk(seen.sys, 'no /sys');
    t.notOk(seen.writesDevices, '/dev is read-only');
    t.ok(seen.processes > 200 && seen.processes <= 256, `${seen.processes} processes`);
    t.equal(seen.signal, ESRCH, 'the process that started it is not there');
    t.equal(seen.reads, ENOENT, 'nor is the file beside the room');
    t.ok(seen.writesOwn);
  });

  t.test(`without bubblewrap, started as ${user}: ${user === 'root' ? 'a uid of its own' : 'no privileges'}`, async (t) => {
    if (!requireTools(t, { perl: 'perl', prlimit: 'util-linux', setpriv: 'util-linux', unshare: 'util-linux', mount: 'mount' })) return;
    const seen = await trial(t, user, 'off');
    t.match(seen.line, user === 'root' ? /^own process and uid,/ : /^own process, Node/);
    t.match(seen.line, /no wall against malicious code/);
    t.match(seen.status, { CapPrm: NOTHING, CapEff: NOTHING, NoNewPrivs: '1' });
    t.ok(seen.writesOwn);
    if (user === 'ordinary') return t.equal(seen.signal, 0, 'open, as documented');
    t.match(seen.status, { CapBnd: NOTHING });
    t.not(seen.status['Uid'], '0');
    t.ok(seen.processes > 200 && seen.processes <= 256, `${seen.processes} processes`);
    t.equal(seen.signal, EPERM, 'it cannot signal the process that started it');
    t.equal(seen.reads, ENOENT, 'of the closed folder above its room it sees what it was given');
  });
}
