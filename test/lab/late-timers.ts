import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PRELOAD = `
const setTimer = globalThis.setTimeout;
const lateMs = Number(process.env.LATE_TIMER_MS);
let onTime = Number(process.env.TIMERS_ON_TIME);
globalThis.setTimeout = Object.assign((action, ms, ...args) => {
  if (Math.round(ms) !== lateMs || onTime-- > 0) return setTimer(action, ms, ...args);
  process.stderr.write('a timer is withheld\\n');
  return setTimer(action, 2 ** 31 - 1, ...args);
}, setTimer);
`;

/** Returns the environment of a process in which timers of exactly this length never fire, except for the first ones. */
export function lateTimers(folder: string, ms: number, onTime: number): Readonly<Record<string, string>> {
  const file = join(folder, 'late-timers.mjs');
  writeFileSync(file, PRELOAD);
  return { NODE_OPTIONS: `--import=${file}`, LATE_TIMER_MS: String(ms), TIMERS_ON_TIME: String(onTime) };
}
