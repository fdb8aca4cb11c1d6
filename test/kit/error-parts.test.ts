import t from 'tap';
import { asPeerworkError } from '../../src/errors.js';
import { boundedError, jobErrorOf } from '../../src/job/job-error.js';
import { errorPart, messageOf, wordsOf } from '../../src/kit/error-parts.js';
import { createLog } from '../../src/log.js';

const refused = Object.assign(new Error('connect ECONNREFUSED ::1:9'), { code: 'ECONNREFUSED' });
const fetchFailed = new TypeError('fetch failed', { cause: new AggregateError([refused, new Error('other')], 'all of them') });

t.test('an error says what brought it about', async (t) => {
  const words = 'TypeError: fetch failed: AggregateError: all of them (connect ECONNREFUSED ::1:9; other)';
  t.equal(messageOf(fetchFailed), words);
  t.equal(messageOf(new Error('alone')), 'alone');
  t.equal(messageOf('thrown text'), 'thrown text');
  const ours = asPeerworkError(fetchFailed);
  t.equal(ours.message, `Internal error: ${words}`);
  t.match(jobErrorOf(ours), { code: 'internal', cause: { name: 'TypeError', cause: { parts: [{ code: 'ECONNREFUSED' }, {}] } } });
  let line = '';
  createLog({ level: 'info', write: (text) => (line = text) }).warn('no', { error: fetchFailed, ours });
  t.match(line, `error="${words}"`);
  t.equal(line.split('fetch failed').length, 3, 'said once for each of the two');
});

t.test('errors from outside are bounded in depth, number and size, and nothing else comes with them', async (t) => {
  let deep: unknown = 5;
  for (let at = 0; at < 10_000; at += 1) deep = { message: `m${at}`, cause: deep };
  t.equal(wordsOf(errorPart(deep) ?? { message: '' }), 'm9999: m9998: m9997: m9996: m9995: m9994: m9993');
  const wide = {
    message: 'x'.repeat(100_000),
    parts: Array.from({ length: 9_999 }, () => ({ message: 'y'.repeat(9_999), stack: 'z'.repeat(9_999) })),
  };
  const bounded = boundedError({ code: 'c'.repeat(99), message: 'm'.repeat(99_999), cause: wide });
  t.ok(JSON.stringify(bounded).length < 40_000, `${JSON.stringify(bounded).length}`);
  t.equal(bounded.cause?.parts?.length, 23);
  t.same(errorPart({ message: 5, name: {}, code: [], other: 'thing', parts: 'none', cause: 'text' }), { message: '' });
  for (const none of [undefined, null, 'text', 5]) t.equal(errorPart(none), undefined);
});
