import type { Clock } from '../../clock.js';
import type { Check } from '../../job/health.js';

export interface WallClockQuestion {
  /** Servers that may tell the time in the head of an answer: `wss://`, `ws://`, `https://` or `http://`. */
  readonly urls: readonly string[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const name = 'clock';
/** The head of an answer holds whole seconds, and took its way. */
const TOLERATED_MS = 120_000;
const DAY_MS = 86_400_000;

/** How far our clock is off, by the first server that tells the time; undefined if none does. A machine without a battery clock may wake in 1970. */
export async function checkWallClock({ urls, clock, signal }: WallClockQuestion): Promise<Check | undefined> {
  const asked = [...new Set(urls.map((url) => new URL('/', url.replace(/^ws/, 'http')).href))];
  const answers = await Promise.all(asked.map((url) => askTime(url, clock, signal)));
  const hint = 'Switch on the time service of this machine (`timedatectl set-ntp true`).';
  const known = answers.find((answer) => typeof answer === 'number');
  if (typeof known !== 'number')
    return answers.includes('untimely')
      ? { name, state: 'fail', detail: 'certificates are not valid at the time that this machine believes it is', hint }
      : undefined;
  const off = `${Math.round(Math.abs(known) / 1_000)} s ${known > 0 ? 'behind' : 'ahead'}`;
  if (Math.abs(known) <= TOLERATED_MS)
    return { name, state: 'ok', detail: Math.abs(known) < 2_000 ? 'right' : `${off}, which does not matter` };
  return { name, state: Math.abs(known) > DAY_MS ? 'fail' : 'warn', detail: off, hint };
}

/** How many milliseconds the server is ahead of us. */
async function askTime(url: string, clock: Clock, signal: AbortSignal): Promise<number | 'untimely' | undefined> {
  try {
    const askedAt = clock.wall();
    const response = await fetch(url, { method: 'HEAD', redirect: 'manual', signal });
    const [answeredAt, date] = [clock.wall(), Date.parse(response.headers.get('date') ?? '')];
    // In the middle of the second that it names, and in the middle of the time that the question took.
    return Number.isNaN(date) ? undefined : date + 500 - (askedAt + answeredAt) / 2;
  } catch (thrown) {
    const cause = thrown instanceof Error ? thrown.cause : undefined;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    return code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED' ? 'untimely' : undefined;
  }
}
