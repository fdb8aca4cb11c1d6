import { writeSync } from 'node:fs';
import { openLedger } from '../../src/ledger/open.js';

/**
 * A process that crash.test.ts kills. It works endlessly on the ledger `argv[2]` and prints a line for everything acknowledged: `+id`
 * added, `=id` completed. With a second argument it only opens the ledger, prints the result and stays alive.
 */
const [, , url = '', hold] = process.argv;
const worker = { id: 'writer', name: 'writer' };
const print = (line: string) => writeSync(1, `${line}\n`);

const ledger = await openLedger(url).catch((error: { code?: string }) => error.code ?? String(error));
if (typeof ledger === 'string') {
  print(ledger);
} else if (hold !== undefined) {
  print('open');
  setInterval(() => {}, 60_000);
} else {
  for (;;) {
    const now = Date.now();
    await Promise.all(
      Array.from({ length: 3 }, async () => {
        const added = await ledger.add([{ data: 'x'.repeat(300) }, { data: 1 }], now);
        for (const { id } of added) print(`+${id}`);
      }),
    );
    const leased = await ledger.claim({ worker, channels: ['default'], limit: 4, until: now + 30_000 }, now);
    const outcome = { state: 'completed', output: 'done' } as const;
    await ledger.settle(
      worker,
      leased.map(({ id, lease }) => ({ id, lease, outcome, startedAt: now, finishedAt: now })),
      now,
    );
    for (const { id } of leased) print(`=${id}`);
  }
}
