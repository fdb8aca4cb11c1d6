import type { Redis } from 'ioredis';
import { PeerworkError } from '../../../errors.js';
import type { OptionalPackages } from '../../../kit/optional-package.js';
import { redisError } from '../../../kit/redis-fault.js';
import { forListening, redisRetry } from '../../../kit/redis-retry.js';
import { type RedisPlace, readRedisPlace, redisClientOptions } from '../../../kit/redis-url.js';
import { conceal, withoutPassword } from '../../../log.js';
import { DEFAULT_PREFIX } from '../defaults.js';
import { WorqrError } from '../errors.js';
import { checkPrefix, type WorqrPlace } from './names.js';
import { type ScriptName, scripts } from './scripts.js';

const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 10_000;
/** A server that says nothing for so long is as good as away; what it does all the same is found out when it is back. */
const ANSWER_MS = 5_000;

type Ioredis = OptionalPackages['ioredis'];

/**
 * Two connections, as worqr has them: one for data, one that listens. A command is never sent twice: a claim that is repeated because its
 * answer got lost would take a second task under the id of the first.
 */
export class WorqrConnection {
  readonly prefix: string;
  readonly data: Redis;
  readonly listening: Redis;

  /** Throws `option-invalid`. `warning` hears what keeps it from being connected. */
  constructor(ioredis: Ioredis, { url, prefix = DEFAULT_PREFIX }: WorqrPlace, warning: (error: PeerworkError) => void) {
    this.prefix = checkPrefix(prefix);
    const place = placeOf(url);
    conceal(place.password);
    const retry = redisRetry({ firstMs: MIN_RETRY_MS, capMs: MAX_RETRY_MS, resend: false });
    const options = {
      ...redisClientOptions(place),
      ...retry.options,
      lazyConnect: true,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: null,
      connectTimeout: ANSWER_MS,
      scripts: Object.fromEntries(Object.entries(scripts).map(([name, lua]) => [name, { lua, numberOfKeys: 0 }])),
    };
    this.data = new ioredis.Redis({ ...options, enableOfflineQueue: false, commandTimeout: ANSWER_MS });
    // It sends nothing but subscriptions, which may wait for the connection.
    this.listening = forListening(new ioredis.Redis(options));
    for (const redis of [this.data, this.listening]) redis.on('connect', () => guard(redis.stream));
    for (const redis of [this.data, this.listening])
      redis.on('error', (error) => warning(redisError(error, WorqrError.of('worqr-unreachable'), withoutPassword(url))));
  }

  get isUp(): boolean {
    return this.data.status === 'ready';
  }

  open(): void {
    // Why it fails is told by the event; both try again by themselves.
    for (const redis of [this.data, this.listening]) redis.connect().catch(() => {});
  }

  /** Runs a script with the prefixes and these arguments. Rejects with what Redis or the connection says. */
  run(script: ScriptName, args: readonly (string | number)[]): Promise<unknown> {
    const commands = this.data as unknown as Readonly<Record<ScriptName, (...args: readonly (string | number)[]) => Promise<unknown>>>;
    return commands[script](this.prefix, `peerwork-${this.prefix}`, ...args);
  }

  close(): void {
    this.data.disconnect();
    this.listening.disconnect();
  }
}

/** The parser throws at some replies (lists longer than JavaScript's, nested without end), out of an event where nobody would catch it. */
function guard(stream: Redis['stream']): void {
  const emit = stream.emit.bind(stream) as (event: string, ...args: unknown[]) => boolean;
  stream.emit = (event: string, ...args: unknown[]) => {
    if (event !== 'data') return emit(event, ...args);
    try {
      return emit(event, ...args);
    } catch (thrown) {
      stream.destroy(new Error('it does not speak as a Redis does', { cause: thrown }));
      return true;
    }
  };
}

/** Throws `option-invalid`. */
export function placeOf(url: string): RedisPlace {
  try {
    return readRedisPlace(url);
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new PeerworkError(
      'option-invalid',
      `the address of worqr's Redis ${JSON.stringify(withoutPassword(url))} cannot be used: ${why}`,
    );
  }
}
