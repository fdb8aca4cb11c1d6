import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** On SIGUSR2 the wall clock of the process jumps; monotonic time and timers continue. */
const PRELOAD = `
const now = Date.now;
let offset = 0;
process.on('SIGUSR2', () => {
  offset += Number(process.env.SHIFT_MS);
});
Date.now = () => now() + offset;
globalThis.Date = new Proxy(Date, {
  construct: (target, args) => (args.length === 0 ? new target(now() + offset) : new target(...args)),
});
`;

/** Returns the environment of a process whose clock is set by `shiftMs` on each SIGUSR2. */
export function shiftedClock(folder: string, shiftMs: number): Readonly<Record<string, string>> {
  const file = join(folder, 'shifted-clock.mjs');
  writeFileSync(file, PRELOAD);
  return { NODE_OPTIONS: `--import=${file}`, SHIFT_MS: String(shiftMs) };
}
