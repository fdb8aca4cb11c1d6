import t from 'tap';
import { claimable, type Share } from '../../src/worker/shares.js';

const share = (part: Partial<Share> = {}): Share => ({ held: 0, claiming: undefined, idle: false, usedMs: 0, ...part });
const still = (target: number) => ({ target, turningOver: false });
const turning = (target: number) => ({ target, turningOver: true });

t.test('one source alone may claim everything that is free', (t) => {
  t.same(claimable(still(4), [share()]), [4]);
  t.same(claimable(still(4), [share({ held: 3 })]), [1]);
  t.same(claimable(still(4), [share({ held: 4 })]), [0]);
  t.same(claimable(still(4), [share({ held: 1, claiming: 3 })]), [0], 'one claim at a time');
  t.same(claimable(still(4), [share({ idle: true })]), [4], 'idle or not');
  t.end();
});

t.test('what is free is divided, and the rest goes to who holds least', (t) => {
  t.same(claimable(still(4), [share(), share()]), [2, 2]);
  t.same(claimable(still(5), [share(), share()]), [3, 2]);
  t.same(claimable(still(4), [share({ held: 3 }), share()]), [0, 1]);
  t.same(claimable(still(1), [share({ usedMs: 2 }), share({ usedMs: 1 })]), [0, 1], 'it has used less');
  t.end();
});

t.test('open claims are counted, unless they are of a source that is idle', (t) => {
  t.same(claimable(still(4), [share({ claiming: 2 }), share()]), [0, 2]);
  t.same(claimable(still(4), [share({ claiming: 2, idle: true }), share()]), [0, 4], 'nothing is kept free for it');
  t.end();
});

t.test('an idle source hears of its next job as long as anything is free', (t) => {
  t.same(claimable(still(4), [share({ idle: true }), share({ held: 3 })]), [1, 1]);
  t.same(claimable(still(4), [share({ idle: true }), share({ held: 3, claiming: 1 })]), [1, 0]);
  t.same(claimable(still(4), [share({ idle: true }), share({ held: 4 })]), [0, 0], 'but not when all is taken');
  t.end();
});

t.test('while places turn, a source with less than its share claims ahead of a free one', (t) => {
  t.same(claimable(turning(4), [share({ held: 4 }), share({ idle: true })]), [0, 2]);
  t.same(
    claimable(turning(4), [share({ held: 3, usedMs: 1 }), share({ held: 1, idle: true })]),
    [0, 2],
    'what it holds will be done when it answers',
  );
  t.same(claimable(turning(4), [share({ held: 3 }), share({ held: 1, idle: true, usedMs: 1 })]), [0, 0], 'it has used more');
  t.same(claimable(turning(4), [share({ held: 2 }), share({ held: 2 })]), [0, 0], 'none has less');
  t.same(claimable(turning(4), [share({ held: 4 })]), [0], 'one alone has all');
  t.same(
    claimable(turning(2), [share({ held: 1 }), share({ held: 1 }), share()]),
    [0, 0, 1],
    'more sources than places: one waits for the next',
  );
  t.end();
});
