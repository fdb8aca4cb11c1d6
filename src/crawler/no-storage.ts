import type { ConfigurationOptions } from '@crawlee/cheerio';

const kept = { id: 'none', name: 'none' };
const storage = { get: async () => kept, getOrCreate: async () => kept, getRecord: async () => undefined, setRecord: async () => {} };

/** Crawlee wants somewhere to keep its own state; a container keeps none, results and queue are elsewhere. */
export const noStorage = Object.fromEntries(
  ['dataset', 'datasets', 'keyValueStore', 'keyValueStores', 'requestQueue', 'requestQueues'].map((kind) => [kind, () => storage]),
) as unknown as NonNullable<ConfigurationOptions['storageClient']>;
