import Bugout from 'bugout';
import WebTorrent from 'webtorrent';
import { until } from '../until.js';

export interface BugoutPlace {
  readonly token: string;
  /** For the file that webtorrent makes of the token. */
  readonly folder: string;
  readonly port: number;
  readonly lsd: boolean;
  /** `host:port` of DHT nodes to begin at. */
  readonly dht?: readonly string[];
}

/** A member of a room as queue-xec makes one, with nothing that would leave this machine. */
export async function openBugout({
  token,
  folder,
  port,
  lsd,
  dht,
}: BugoutPlace): Promise<{ readonly peer: Bugout; readonly port: number }> {
  const wt = new WebTorrent({ dht: dht === undefined ? false : { bootstrap: dht }, lsd, tracker: false, utp: false, torrentPort: port });
  wt.on('error', (error) => {
    throw error;
  });
  const peer = new Bugout(token, { wt, announce: [], torrentOpts: { path: folder } });
  await until(() => wt.listening && peer.torrent.ready, 5);
  return { peer, port: wt.torrentPort };
}
