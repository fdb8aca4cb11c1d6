import { fileURLToPath } from 'node:url';
import t from 'tap';
import { LabProcess } from '../lab/lab-process.js';
import { NatLab } from '../lab/nat-lab.js';
import { type Cell, formatMatrix, measureMatrix, median, needsRelay } from '../lab/nat-matrix.js';
import { natTypes } from '../lab/nat-rules.js';
import { requireTools } from '../lab/require.js';
import { startTurnServer, turnLabTools } from '../lab/turn-server.js';

t.setTimeout(400_000);

t.test('every pair of routers connects', { timeout: 300_000 }, async (t) => {
  if (!requireTools(t, turnLabTools, { root: true })) return;
  const cells = await measureMatrix((cell) => {
    t.ok(cell.path, `${cell.a} to ${cell.b}: ${cell.path ?? cell.errors.join('; ')}`);
    if (needsRelay(cell.a, cell.b)) t.equal(cell.path, 'relay', `${cell.a} to ${cell.b} cannot be direct`);
  });
  t.equal(cells.length, natTypes.length ** 2);
  const direct = cells.filter((cell) => !needsRelay(cell.a, cell.b));
  const stayedDirect = direct.filter((cell) => cell.path === 'direct').length;
  t.ok(stayedDirect >= 0.8 * direct.length, `${stayedDirect} of ${direct.length} pairs that need no relay use none`);
  const openMs = (some: readonly Cell[]) => Math.round(median(some.filter((cell) => cell.path !== undefined).map((cell) => cell.openMs)));
  for (const line of formatMatrix(cells).split('\n')) t.comment(line);
  t.comment(
    `median time to open: ${openMs(direct)} ms where no relay is needed (aim: 500), ${openMs(cells.filter((cell) => !direct.includes(cell)))} ms through one`,
  );
});

t.test('where it cannot connect, it says why', { timeout: 60_000 }, async (t) => {
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
  // The lab's certificate is its own: without being told of it, nobody may be talked into sending a password there.
  await a.call('join', { servers: [turn.stun, ...turn.turnTls] });
  await b.call('join', { servers: [turn.stun] });
  await t.rejects(connect(), { code: 'ice-failed', message: /no relay from TURN/ });
  await a.call('join', { servers: [turn.stun, ...turn.turnTls], ca: turn.ca });
  await t.resolves(connect(), 'with its certificate it connects');
  t.equal(await a.call('path'), 'relay');

  await Promise.all([a.call('leave'), b.call('leave'), a.call('close'), b.call('close')]);
  t.strictSame(await Promise.all([a.close(), b.close()]), [0, 0], 'both processes end by themselves');
});
