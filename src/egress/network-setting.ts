import * as v from 'valibot';
import { type NetworkWish, readHost } from './policy.js';

const MAX_HOSTS = 100;

/** `network` in a task.json, for every runner; and in the data of container jobs. */
export const networkSetting: v.GenericSchema<unknown, NetworkWish> = v.union(
  [v.picklist(['none', 'internet', 'lan']), v.pipe(v.array(v.pipe(v.string(), v.check(isHost))), v.maxLength(MAX_HOSTS))],
  `must be "none", "internet", "lan" or a list of at most ${MAX_HOSTS} hosts such as "api.example.org:443"`,
);

function isHost(text: string): boolean {
  try {
    readHost(text);
    return true;
  } catch {
    return false;
  }
}
