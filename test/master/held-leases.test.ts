import t from 'tap';
import { HeldLeases } from '../../src/master/held-leases.js';

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((id) => ({ id, lease: 1 })) as [Key, Key, Key, Key];
interface Key {
  readonly id: string;
  readonly lease: number;
}

t.test('what a Worker has named itself is renewed while it is heard, and what it cannot name yet', async (t) => {
  const held = new HeldLeases();
  held.greet([a]);
  t.strictSame(held.renewable(), { leases: [a], waiting: [], ended: [] });
  held.handOut([b, c]);
  t.strictSame(held.renewable(), { leases: [a, b, c], waiting: [b, c], ended: [] }, 'on their way to it');
  held.recordBeat({ holding: [a, b], ended: [a], waiting: [b], answers: 1 });
  t.strictSame(held.renewable(), { leases: [a, b], waiting: [b], ended: [a] }, 'it has received c, and lost it');
  held.handOut([d]);
  held.recordBeat({ holding: [b], answers: 1 });
  t.strictSame(held.renewable(), { leases: [b, d], waiting: [d], ended: [] });
  held.recordBeat({ holding: [b] });
  t.strictSame(held.renewable(), { leases: [b], waiting: [], ended: [] }, 'of one that does not count, all have arrived');
  held.forget({ id: 'b', lease: 2 });
  t.ok(held.has(b), 'another lease');
  held.forget(b);
  t.strictSame(held.renewable().leases, []);
});

t.test('what it names without holding it is not renewed', async (t) => {
  const held = new HeldLeases();
  held.greet([]);
  held.recordBeat({ holding: [a] });
  t.strictSame(held.renewable().leases, []);
});
