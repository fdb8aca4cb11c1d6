import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Check } from '../../job/health.js';
import { isRedisDenial, redisError } from '../../kit/redis-fault.js';
import { bareHost, type RedisPlace, readRedisPlace, serverName } from '../../kit/redis-url.js';
import { conceal, redact, withoutPassword } from '../../log.js';

const MAX_REPLY_CHARS = 10_000;
const MAX_SHOWN_CHARS = 200;

/** Address and login of one server. */
interface Server {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** Commands to send before the first query: AUTH and SELECT, where needed. */
  readonly login: readonly (readonly string[])[];
}

/**
 * Checks that a Redis is a primary that accepts our login; of sentinels, the primary they name. Speaks RESP 2 directly, so that no client
 * library is loaded that would keep reconnecting. `variable` is the name of the variable in which the owner configured the address.
 */
export async function checkRedis(
  name: string,
  url: string,
  { variable, signal }: { variable: string; signal: AbortSignal },
): Promise<Check> {
  const shown = withoutPassword(url);
  const fail = (detail: string, hint: string): Check => ({ name, state: 'fail', detail: `${shown}: ${redact(detail)}`, hint });
  let place: RedisPlace;
  try {
    place = readRedisPlace(url);
  } catch (thrown) {
    return fail(thrown instanceof Error ? thrown.message : 'is no redis:// URL', `Correct ${variable}.`);
  }
  conceal(place.password);
  const startedAt = performance.now();
  try {
    const server = await primaryOf(place, signal);
    const [role = ''] = await ask(server, ['ROLE'], signal);
    const took = `${shown} responded in ${Math.round(performance.now() - startedAt)} ms`;
    if (role === 'slave') return fail('is a replica, which takes no writes', `Name the primary in ${variable}, or sentinels that know it.`);
    return { name, state: 'ok', detail: took };
  } catch (thrown) {
    const why = signal.aborted ? 'no response in time' : thrown instanceof Error ? thrown.message : String(thrown);
    const { code, hint } = redisError(thrown, 'internal');
    if (code === 'redis-tls' || code === 'redis-database') return fail(why, hint);
    if (!(thrown instanceof Refusal)) return fail(why, `Start this Redis, or correct ${variable}.`);
    if (/^NOPERM/.test(why)) return { name, state: 'ok', detail: `${shown} responded in ${Math.round(performance.now() - startedAt)} ms` };
    return fail(
      why.slice(0, MAX_SHOWN_CHARS),
      isRedisDenial(thrown) ? `Give ${variable} the right password.` : 'Look into the log of this Redis.',
    );
  }
}

/** The server replied with an error. */
class Refusal extends Error {}

async function primaryOf(place: RedisPlace, signal: AbortSignal): Promise<Server> {
  const { secure, username, password, db } = place;
  const auth = password === '' ? [] : [username === '' ? ['AUTH', password] : ['AUTH', username, password]];
  const login = db === 0 ? auth : [...auth, ['SELECT', String(db)]];
  if (place.kind === 'server') return { host: bareHost(place.host), port: place.port, secure, login };
  let fault: unknown = new Error('no sentinel is named');
  for (const sentinel of place.sentinels) {
    try {
      const [host, port] = await ask({ ...sentinel, secure, login: [] }, ['SENTINEL', 'get-master-addr-by-name', place.primary], signal);
      if (host !== undefined && port !== undefined) return { host, port: Number(port), secure, login };
      fault = new Refusal(`the sentinels know no primary called ${place.primary}`);
    } catch (thrown) {
      fault = thrown;
    }
  }
  throw fault;
}

/** Sends a command and resolves with the first words of its reply. Rejects with a Refusal that holds the server's error. */
async function ask({ login, ...server }: Server, command: readonly string[], signal: AbortSignal): Promise<string[]> {
  const commands = [...login, command];
  const socket = open(server);
  const end = () => socket.destroy(new Error('no response in time'));
  signal.addEventListener('abort', end, { once: true });
  try {
    if (signal.aborted) end();
    socket.write(
      commands.map((words) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`).join(''),
    );
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      const lines = text.split('\r\n').slice(0, -1);
      const refusal = lines.find((line) => line.startsWith('-'));
      if (refusal !== undefined) throw new Refusal(refusal.replace(/^-(ERR )?/, ''));
      const words = wordsOf(lines.slice(login.length));
      if (words !== undefined) return words;
      if (text.length > MAX_REPLY_CHARS) break;
    }
    throw new Error('it does not speak as a Redis does');
  } finally {
    signal.removeEventListener('abort', end);
    socket.destroy();
  }
}

/** Returns the first two texts of a list, an empty list for null, undefined while the reply is incomplete. */
function wordsOf([first, ...rest]: readonly string[]): string[] | undefined {
  if (first === '*-1' || first === '$-1') return [];
  if (first === undefined || !/^\*[1-9]/.test(first)) return undefined;
  const texts = rest.filter((line) => !/^[$:*]/.test(line));
  return rest.length >= 3 ? texts.slice(0, 2) : undefined;
}

function open({ host, port, secure }: Omit<Server, 'login'>): Socket {
  return secure ? connectTls({ host, port, ...serverName(host) }) : connectPlain({ host, port });
}
