import { writeSync } from 'node:fs';
import { openLedger } from '../../src/ledger/open.js';

/**
 * A process that crash.test.ts kills: works without end on the ledger `argv[2]`, one line on stdout for each thing that was acknowledged,
 * `+id` added, `=id` completed. With a second argument it only opens the ledger, says how that went and stays.
 */
const [, , url = '', hold] = process.argv;
const worker = { id: 'writer', name: 'writer' };
const say = (line: string) => writeSync(1, `${line}\n`);

const ledger = await openLedger(url).catch((error: { code?: string }) => error.code ?? String(error));
if (typeof ledger === 'string') {
  say(ledger);
} else if (hold !== undefined) {
  say('open');
  setInterval(() => {}, 60_000);
} else {
  for (;;) {
    const now = Date.now();
    await Promise.all(
      Array.from({ length: 3 }, async () => {
        const added = await ledger.add([{ data: 'x'.repeat(300) }, { data: 1 }], now);
        for (const { id } of added) say(`+${id}`);
      }),
    );
    const leased = await ledger.claim({ worker, channels: ['default'], limit: 4, until: now + 30_000 }, now);
    const outcome = { state: 'completed', output: 'done' } as const;
    await ledger.settle(
      worker,
      leased.map(({ id, lease }) => ({ id, lease, outcome, startedAt: now, finishedAt: now })),
      now,
    );
    for (const { id } of leased) say(`=${id}`);
  }
}
