import type { Redis } from 'ioredis';
import { PeerworkError } from '../../../errors.js';
import type { OptionalPackages } from '../../../kit/optional-package.js';
import { redisError } from '../../../kit/redis-fault.js';
import { forListening, redisRetry } from '../../../kit/redis-retry.js';
import { type RedisPlace, readRedisPlace, redisClientOptions } from '../../../kit/redis-url.js';
import { conceal, withoutPassword } from '../../../log.js';
import { DEFAULT_PREFIX } from '../defaults.js';
import { WorqrError } from '../errors.js';
import { checkPrefix } from './names.js';
import type { WorqrPlace } from './options.js';
import { type ScriptName, scripts } from './scripts.js';

const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 10_000;
/** Command timeout: a server silent for this long counts as unreachable. Whether the command ran anyway is checked after the reconnect. */
const REPLY_MS = 5_000;

type Ioredis = OptionalPackages['ioredis'];

/**
 * Two connections, like worqr: one for commands, one for subscriptions. Commands are never sent twice: a claim repeated because its reply
 * was lost would take a second task under the same process id.
 */
export class WorqrConnection {
  readonly prefix: string;
  readonly data: Redis;
  readonly listening: Redis;

  /** Throws `option-invalid`. `warning` is called with each connection error. */
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
      connectTimeout: REPLY_MS,
      scripts: Object.fromEntries(Object.entries(scripts).map(([name, lua]) => [name, { lua, numberOfKeys: 0 }])),
    };
    this.data = new ioredis.Redis({ ...options, enableOfflineQueue: false, commandTimeout: REPLY_MS });
    // It sends only subscriptions, which may be queued until it is connected.
    this.listening = forListening(new ioredis.Redis(options));
    for (const redis of [this.data, this.listening]) redis.on('connect', () => closeOnParserError(redis.stream));
    for (const redis of [this.data, this.listening])
      redis.on('error', (error) => warning(redisError(error, WorqrError.of('worqr-unreachable'), withoutPassword(url))));
  }

  get isUp(): boolean {
    return this.data.status === 'ready';
  }

  open(): void {
    // Errors are reported by the `error` event, and both connections keep retrying.
    for (const redis of [this.data, this.listening]) redis.connect().catch(() => {});
  }

  /** Runs a script with the key prefixes and these arguments. Rejects with the error of Redis or of the connection. */
  run(script: ScriptName, args: readonly (string | number)[]): Promise<unknown> {
    const commands = this.data as unknown as Readonly<Record<ScriptName, (...args: readonly (string | number)[]) => Promise<unknown>>>;
    return commands[script](this.prefix, `peerwork-${this.prefix}`, ...args);
  }

  close(): void {
    this.data.disconnect();
    this.listening.disconnect();
  }
}

/**
 * Destroys the connection when the parser throws: some replies (arrays longer than JavaScript allows, endless nesting) make it throw inside
 * an event handler, where nothing would catch it.
 */
function closeOnParserError(stream: Redis['stream']): void {
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
