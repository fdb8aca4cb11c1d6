import type { Clock } from '../../clock.js';
import type { PeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import type { Platform } from '../../swarm/platform.js';
import { TrackerClient } from '../../swarm/rendezvous/tracker-client.js';
import { TrackerPace } from '../../swarm/rendezvous/tracker-pace.js';
import { binaryText } from '../../swarm/rendezvous/wire.js';

export interface TrackerCheckOptions {
  readonly urls: readonly string[];
  /** Info hash of the token, which a Worker announces. */
  readonly infoHash: Uint8Array;
  readonly platform: Platform;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Announces to each tracker, without an offer: one that responds is reachable. One is enough, so a silent one is only a warning if
 * others respond.
 */
export async function checkTrackers({ urls, ...question }: TrackerCheckOptions): Promise<Check[]> {
  const results = await Promise.all(urls.map((url) => queryTracker(url, question)));
  const someResponded = results.some(({ ms }) => ms !== undefined);
  return results.map(({ url, ms, members, why }): Check => {
    const name = 'tracker';
    if (ms !== undefined) return { name, state: 'ok', detail: `${url} responded in ${ms} ms, ${members} there for this token` };
    const hint = someResponded
      ? 'No action needed as long as another one responds.'
      : 'Check the internet connection and that WebSockets (wss://) pass the firewall, or use a tracker of your own.';
    return { name, state: someResponded ? 'warn' : 'fail', detail: why ?? `${url}: no response in time`, hint };
  });
}

interface TrackerResult {
  readonly url: string;
  readonly ms?: number;
  readonly members?: number;
  readonly why?: string;
}

function queryTracker(url: string, options: Omit<TrackerCheckOptions, 'urls'>): Promise<TrackerResult> {
  const { infoHash, platform, clock, signal } = options;
  const { openSocket, primitives } = platform;
  const startedAt = clock.now();
  return new Promise((resolve) => {
    const finish = (answer: Omit<TrackerResult, 'url'>) => {
      signal.removeEventListener('abort', giveUp);
      client.close();
      resolve({ url, ...answer });
    };
    const giveUp = () => finish({});
    const client = new TrackerClient(
      {
        url,
        infoHash: binaryText(infoHash),
        role: 'worker',
        openSocket,
        randomBytes: (count) => primitives.randomBytes(count),
        random: Math.random,
        clock,
        pace: new TrackerPace(clock),
      },
      {
        opened: (own) => own.announce([]),
        // Excludes ourselves.
        announced: (_client, members) => finish({ ms: clock.now() - startedAt, members: Math.max(0, members - 1) }),
        due: () => {},
        offered: () => {},
        answered: () => {},
        failed: (_client, { detail }: PeerworkError) => finish({ why: detail }),
      },
    );
    if (signal.aborted) return giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    client.start();
  });
}
