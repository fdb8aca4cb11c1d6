import t from 'tap';
import { isStackFrame, tellsHeapFull } from '../../src/kit/fatal-words.js';

t.test('what Node 20 writes when its heap is full', async (t) => {
  const said = `
<--- Last few GCs --->
[12:0x5]    26783 ms: Mark-Compact 357.6 (391.4) -> 356.9 (391.6) MB, 512.34 / 0.00 ms
<--- JS stacktrace --->
FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----
 1: 0xb82c28 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]
12: 0x195e476  [node]`.split('\n');
  t.same(said.filter(tellsHeapFull), ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory']);
  t.same(
    said.filter((line) => line !== '' && !isStackFrame(line)).map((line) => line.slice(0, 12)),
    ['[12:0x5]    ', 'FATAL ERROR:'],
  );
  t.ok(isStackFrame('    at Object.<anonymous> (/task/main.js:1:7)'));
  for (const words of ['Error: no such page', 'at last: it failed for want of a name', '3: three', 'failed http://a/b: out of luck'])
    t.notOk(isStackFrame(words), words);
});
