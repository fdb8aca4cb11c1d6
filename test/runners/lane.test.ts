import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ceilingOf } from '../../src/egress/policy.js';
import type { TaskChild } from '../../src/runners/task-module/child-process.js';
import { Lane } from '../../src/runners/task-module/lane.js';

/** The part of a child that a lane reads. */
interface Seen {
  usable: boolean;
  load: number;
  weight: number;
  idleSince: number;
  head: { begunAt: number } | undefined;
}

function laneWith(t: Test, loads: readonly number[]): { lane: Lane; children: Seen[]; pick: () => number } {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-lane-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const lane = new Lane({ digest: 'a'.repeat(64), folder, entry: 'index.js', readable: [] }, ceilingOf('internet'));
  const children = loads.map(
    (load, at): Seen => ({ usable: true, load, weight: 0, idleSince: at, head: load > 0 ? { begunAt: 0 } : undefined }),
  );
  for (const child of children) lane.children.add(child as unknown as TaskChild);
  const pick = () => {
    const picked = lane.pick(0) as unknown as Seen | undefined;
    if (picked === undefined) return -1;
    picked.load += 1;
    picked.head ??= { begunAt: 0 };
    return children.indexOf(picked);
  };
  return { lane, children, pick };
}

t.test('a job whose length is not known, or that is long, wakes the child that was used last', async (t) => {
  const { lane, pick } = laneWith(t, [0, 0, 1]);
  t.same([pick(), pick(), pick()], [1, 0, -1]);
  lane.learn(40);
  t.equal(pick(), -1);
});

t.test('jobs of a few microseconds fill the packet of one child before another is woken', async (t) => {
  const { lane, children, pick } = laneWith(t, [0, 0]);
  lane.learn(0.25);
  t.equal(lane.packet, 4);
  t.same(Array.from({ length: 10 }, pick), [1, 1, 1, 1, 0, 0, 0, 0, 0, 1], 'then they share what may be handed ahead');
  for (const child of children) child.load = 33;
  t.equal(pick(), -1);
});

t.test('a child that has been at one job for long, or holds much data, gets no packet', async (t) => {
  const { lane, children, pick } = laneWith(t, [1, 1, 0]);
  lane.learn(0.1);
  for (const child of children.slice(0, 1)) child.head = { begunAt: -1_000 };
  for (const child of children.slice(1, 2)) child.weight = 1_000_000;
  t.equal(pick(), 2);
});
