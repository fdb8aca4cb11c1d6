import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Grid } from '../lab/grid.js';
import { writeSlowJobs, writeSlowTask } from '../lab/jobs.js';
import { LabProcess } from '../lab/lab-process.js';
import { NatLab, serverAddress } from '../lab/nat-lab.js';
import { formatMatrix, measureMatrix, medianMs, needsRelay } from '../lab/nat-matrix.js';
import { natTypes } from '../lab/nat-rules.js';
import { requireTools } from '../lab/require.js';
import { startTurnServer, turnLabTools } from '../lab/turn-server.js';

t.test('a Worker behind every router reaches a Master behind every router', async (t) => {
  if (!requireTools(t, turnLabTools, { root: true })) return;
  const cells = await measureMatrix(({ master, worker, path, warnings }) => {
    t.ok(path, `Master ${master}, Worker ${worker}: ${path ?? warnings.join('; ')}`);
    if (needsRelay(master, worker)) t.equal(path, 'relay', `Master ${master}, Worker ${worker} cannot be direct`);
  });
  t.equal(cells.length, natTypes.length ** 2);
  const direct = cells.filter(({ master, worker }) => !needsRelay(master, worker));
  const stayedDirect = direct.filter((cell) => cell.path === 'direct').length;
  t.ok(stayedDirect >= 0.8 * direct.length, `${stayedDirect} of ${direct.length} pairs that need no relay use none`);
  for (const line of formatMatrix(cells).split('\n')) t.comment(line);
  const relayed = cells.filter((cell) => !direct.includes(cell));
  t.comment(`median to the end of the handshake, from the offer: ${medianMs(direct, 'connectMs')} ms where no relay is needed (aim: 500)`);
  t.comment(`and through one: ${medianMs(relayed, 'connectMs')} ms`);
});

t.test('jobs are done across routers, by the command line', async (t) => {
  if (!requireTools(t, turnLabTools, { root: true })) return;
  const lab = await NatLab.open();
  t.teardown(() => lab.close());
  const turn = await startTurnServer(lab);
  writeFileSync(join(lab.folder, 'ca.pem'), turn.ca);
  const inside = (host: string) => ({
    prefix: ['ip', 'netns', 'exec', lab.namespace(host)],
    env: { NODE_EXTRA_CA_CERTS: join(lab.folder, 'ca.pem') },
  });
  const ice = [turn.stun, turn.turnUdp, ...turn.turnTls].flatMap((url) => ['--ice', url]);
  const pairs = [
    ['port', 'port', /path=(direct|relay)/],
    ['cgn', 'web', /path=relay/],
  ] as const;
  for (const [master, worker, path] of pairs) {
    const grid = new Grid();
    t.teardown(() => grid.close());
    await Promise.all([lab.setNat('a', master), lab.setNat('b', worker)]);
    writeSlowTask(grid.folder);
    writeSlowJobs(grid.folder, 6, () => 10);
    const tracker = await grid.tracker(80, { ...inside('inet'), host: serverAddress });
    const files = ['--task', 'task', '--input', 'jobs.ndjson', '--output', 'results.ndjson', '--ledger', 'memory:'];
    const { program, token } = await grid.master([...files, ...ice], inside('a1'));
    const joined = grid.worker(token, 'far', [], inside('b1'));
    t.equal((await program.ended).code, 0, `Master ${master}, Worker ${worker}`);
    t.equal(grid.outcomes('results.ndjson').filter(({ state }) => state === 'completed').length, 6);
    t.match(joined.text, path);
    await Promise.all([joined.stop(), tracker.stop()]);
  }
});

t.test('where it cannot connect, it says why', async (t) => {
  if (!requireTools(t, turnLabTools, { root: true })) return;
  const lab = await NatLab.open();
  t.teardown(() => lab.close());
  const turn = await startTurnServer(lab);
  const script = fileURLToPath(new URL('../lab/nat-peer.js', import.meta.url));
  const [a, b] = [new LabProcess(lab, 'a1', script), new LabProcess(lab, 'b1', script)];

  const connect = async () => {
    const options = { connectTimeoutMs: 2500 };
    const answer = await b.call<string>('answer', { sdp: await a.call<string>('offer', options), ...options });
    await a.call('accept', { sdp: answer });
    const there = b.call('opened').catch(() => {}); // the error looked at is the offerer's
    await a.call('opened');
    await there;
  };

  await Promise.all([lab.setNat('a', 'sym'), lab.setNat('b', 'sym')]);
  await Promise.all([a, b].map((peer) => peer.call('join', { servers: [turn.stun] })));
  await t.rejects(connect(), { code: 'ice-failed', message: /here host\+srflx, there host\+srflx; STUN answered, no TURN server/ });

  await Promise.all([lab.setNat('a', 'web'), lab.setNat('b', 'port')]);
  // The lab's certificate is self-signed: without its CA, no client may be tricked into sending a password there.
  await a.call('join', { servers: [turn.stun, ...turn.turnTls] });
  await b.call('join', { servers: [turn.stun] });
  await t.rejects(connect(), { code: 'ice-failed', message: /no relay from TURN/ });
  await a.call('join', { servers: [turn.stun, ...turn.turnTls], ca: turn.ca });
  await t.resolves(connect(), 'with its certificate it connects');
  t.equal(await a.call('path'), 'relay');

  await Promise.all([a.call('leave'), b.call('leave'), a.call('close'), b.call('close')]);
  t.strictSame(await Promise.all([a.close(), b.close()]), [0, 0], 'both processes end by themselves');
});
