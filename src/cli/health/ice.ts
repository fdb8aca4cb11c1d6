import type { Clock } from '../../clock.js';
import type { Check } from '../../job/health.js';
import { silentLog } from '../../log.js';
import { createOffer } from '../../swarm/link/dial.js';
import { formatIceUrl, type IceServer } from '../../swarm/link/ice.js';
import { askUdp } from '../../swarm/link/ice-probe.node.js';
import type { Platform } from '../../swarm/platform.js';

export interface IceCheckOptions {
  readonly servers: readonly IceServer[];
  readonly platform: Platform;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const name = 'ice';
/** Timeout for STUN responses; three packets are sent. */
const STUN_MS = 3_000;
/** Attempts per relay: the engine gathers candidates only briefly, which a distant relay may miss. */
const RELAY_TRIES = 3;

/** Queries each STUN server for our address, and each TURN server for a relay, with its password. */
export async function checkIce({ servers, ...question }: IceCheckOptions): Promise<Check[]> {
  if (servers.length === 0) return [{ name, state: 'ok', detail: 'no STUN or TURN needed: the tracker is on this machine' }];
  const stun = servers.filter(({ kind }) => kind === 'stun');
  const turn = servers.filter(({ kind }) => kind === 'turn');
  const [responses, relays] = await Promise.all([
    queryStun(stun, question),
    Promise.all(turn.map((server) => probeRelay(server, question))),
  ]);
  const works = responses.size > 0 || relays.some((relayed) => relayed);
  const missing = works ? 'warn' : 'fail';
  return [
    ...stun.map((server): Check => {
      const ms = responses.get(server);
      const url = formatIceUrl(server);
      if (ms !== undefined) return { name, state: 'ok', detail: `${url} responded in ${ms} ms` };
      const hint =
        'Check that UDP passes the firewall; a TURN server over TCP or TLS works without it (`--ice turns:user:password@host:443`).';
      return {
        name,
        state: missing,
        detail: `${url} does not respond`,
        hint: works ? 'No action needed as long as another one responds.' : hint,
      };
    }),
    ...turn.map((server, index): Check => {
      const url = formatIceUrl(server);
      if (relays[index]) return { name, state: 'ok', detail: `${url} gives a relay` };
      return {
        name,
        state: missing,
        detail: `${url} gives no relay`,
        hint: 'Check that it is running, its user and password, and that the firewall lets its port through.',
      };
    }),
  ];
}

/** Resolves with the response time of each server that responded, in milliseconds. */
function queryStun(servers: readonly IceServer[], { clock, signal }: Omit<IceCheckOptions, 'servers'>): Promise<Map<IceServer, number>> {
  const responses = new Map<IceServer, number>();
  if (servers.length === 0) return Promise.resolve(responses);
  const startedAt = clock.now();
  return new Promise((resolve) => {
    const finish = () => {
      timer.cancel();
      signal.removeEventListener('abort', finish);
      stop();
      resolve(responses);
    };
    const stop = askUdp(servers, (server) => {
      responses.set(server, clock.now() - startedAt);
      if (responses.size === servers.length) finish();
    });
    const timer = clock.after(STUN_MS, finish);
    signal.addEventListener('abort', finish, { once: true });
  });
}

/** Whether an offer made with this server alone contains a relay candidate. */
async function probeRelay(server: IceServer, { platform, clock, signal }: Omit<IceCheckOptions, 'servers'>): Promise<boolean> {
  const ice = platform.openIce([server], { clock, log: silentLog });
  try {
    for (let tries = 0; tries < RELAY_TRIES && !signal.aborted; tries += 1) {
      const offer = await createOffer(platform.engine, ice, { clock });
      offer.opened.catch(() => {}); // cancelled before a peer could answer
      offer.cancel();
      if (/^a=candidate:.* typ relay /m.test(offer.sdp)) return true;
    }
    return false;
  } catch {
    return false;
  } finally {
    ice.close();
  }
}
