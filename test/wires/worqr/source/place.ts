import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { WorqrProducer, worqrSource } from '../../../../src/index.js';
import type { WorqrSourceOptions } from '../../../../src/wires/worqr/source/options.js';
import { echoTask, type OpenSource, openSource } from '../../../lab/open-source.js';
import type { LabRedis } from '../../../lab/redis.js';
import { WorqrPeer } from '../../../lab/worqr-peer.js';

/** Short timings, so that tests need not wait for worqr's seconds. */
const quick = { workerTimeoutMs: 900, sweepMs: 300, pollMs: 400, backoffMs: 20 } as const;

/** A Redis that is emptied for the test, with all the peers that may work there. */
export async function openPlace(t: Test, lab: LabRedis) {
  const redis = new Redis(lab.url);
  redis.on('error', () => {});
  t.teardown(() => redis.disconnect());
  await redis.flushall();
  const open = (options: Partial<WorqrSourceOptions> = {}, folder?: string): Promise<OpenSource> =>
    openSource(t, worqrSource({ url: lab.url, tasks: { q: echoTask(t) }, ...quick, ...options }), folder);
  const peer = (options: ConstructorParameters<typeof WorqrPeer>[1] = {}): WorqrPeer => {
    const made = new WorqrPeer(lab.url, options);
    t.teardown(() => made.die());
    return made;
  };
  const producer = (prefix?: string): WorqrProducer => {
    const made = new WorqrProducer({ url: lab.url, ...(prefix !== undefined && { prefix }) });
    t.teardown(() => made.close());
    return made;
  };
  /** Keys that remain in Redis. */
  const left = async () => (await redis.keys('*')).sort();
  return { redis, open, peer, producer, left };
}
