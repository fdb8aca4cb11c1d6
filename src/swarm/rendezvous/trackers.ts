import { PeerworkError } from '../../errors.js';

/**
 * Public WebSocket trackers, used when neither the token nor an option names any. They are run by volunteers and come and
 * go, hence several; they see addresses and certificate fingerprints of peers, never the secret of the token.
 */
export const publicTrackers: readonly string[] = [
  'wss://tracker.openwebtorrent.com',
  'wss://tracker.webtorrent.dev',
  'wss://tracker.btorrent.xyz',
];

const MAX_TRACKERS = 16;

/** The first list that is not empty, without doubles. Throws `option-invalid` for what is not a WebSocket URL. */
export function chooseTrackers(...lists: readonly (readonly string[] | undefined)[]): readonly string[] {
  const chosen = lists.find((list) => list && list.length > 0) ?? publicTrackers;
  for (const url of chosen) {
    if (!URL.canParse(url) || !/^wss?:$/.test(new URL(url).protocol))
      throw new PeerworkError('option-invalid', `a tracker is a ws:// or wss:// URL, not ${url.slice(0, 100)}`);
  }
  return [...new Set(chosen)].slice(0, MAX_TRACKERS);
}
