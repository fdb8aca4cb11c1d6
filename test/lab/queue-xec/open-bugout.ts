import Bugout from 'bugout';
import WebTorrent from 'webtorrent';
import { until } from '../until.js';

export interface BugoutPlace {
  readonly token: string;
  /** Folder for the file that webtorrent creates from the token. */
  readonly folder: string;
  readonly port: number;
  readonly lsd: boolean;
  /** `host:port` of the DHT nodes to start from. */
  readonly dht?: readonly string[];
}

/** Joins a room as queue-xec does, without any traffic that leaves this machine. */
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
