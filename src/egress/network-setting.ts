import * as v from 'valibot';
import { type NetworkWish, readHost } from './policy.js';

const MAX_HOSTS = 100;

const hosts = v.pipe(v.array(v.pipe(v.string(), v.check(isHost))), v.maxLength(MAX_HOSTS));
const named = v.pipe(
  v.strictObject({ hosts }),
  v.transform((setting) => setting.hosts),
);

/** `network` in a task.json, for every runner; and in the data of container jobs. A list of hosts may also be written as `{ "hosts": […] }`. */
export const networkSetting: v.GenericSchema<unknown, NetworkWish> = v.union(
  [v.picklist(['none', 'internet', 'lan']), hosts, named],
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
