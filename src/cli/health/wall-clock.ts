import type { Clock } from '../../clock.js';
import type { Check } from '../../job/health.js';

export interface WallClockCheckOptions {
  /** Servers that may report the time in a response header: `wss://`, `ws://`, `https://` or `http://`. */
  readonly urls: readonly string[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const name = 'clock';
/** The header has whole seconds, and spent time in transit. */
const TOLERATED_MS = 120_000;
const DAY_MS = 86_400_000;

/**
 * Compares our clock with the first server that reports the time; undefined if none does. A machine without a battery-backed clock
 * may boot in 1970.
 */
export async function checkWallClock({ urls, clock, signal }: WallClockCheckOptions): Promise<Check | undefined> {
  const urlsToQuery = [...new Set(urls.map((url) => new URL('/', url.replace(/^ws/, 'http')).href))];
  const offsets = await Promise.all(urlsToQuery.map((url) => fetchTime(url, clock, signal)));
  const hint = 'Switch on the time service of this machine (`timedatectl set-ntp true`).';
  const known = offsets.find((answer) => typeof answer === 'number');
  if (typeof known !== 'number')
    return offsets.includes('untimely')
      ? { name, state: 'fail', detail: 'certificates are not valid at the time that this machine believes it is', hint }
      : undefined;
  const off = `${Math.round(Math.abs(known) / 1_000)} s ${known > 0 ? 'behind' : 'ahead'}`;
  if (Math.abs(known) <= TOLERATED_MS)
    return { name, state: 'ok', detail: Math.abs(known) < 2_000 ? 'right' : `${off}, which does not matter` };
  return { name, state: Math.abs(known) > DAY_MS ? 'fail' : 'warn', detail: off, hint };
}

/** Returns how many milliseconds the server is ahead of us. */
async function fetchTime(url: string, clock: Clock, signal: AbortSignal): Promise<number | 'untimely' | undefined> {
  try {
    const sentAt = clock.wall();
    const response = await fetch(url, { method: 'HEAD', redirect: 'manual', signal });
    const [receivedAt, date] = [clock.wall(), Date.parse(response.headers.get('date') ?? '')];
    // Assumes the middle of the reported second, and of the round trip.
    return Number.isNaN(date) ? undefined : date + 500 - (sentAt + receivedAt) / 2;
  } catch (thrown) {
    const cause = thrown instanceof Error ? thrown.cause : undefined;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    return code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED' ? 'untimely' : undefined;
  }
}
