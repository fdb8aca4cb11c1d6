import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Check } from '../../job/health.js';
import { conceal, redact, withoutPassword } from '../../log.js';

const DEFAULT_PORT = 6379;
const MAX_ANSWER_CHARS = 200;

/**
 * Asks a Redis for a PING, after AUTH if the URL (`redis://` or `rediss://`) has a password. Spoken by hand (RESP 2, inline
 * lengths), so that no client has to be loaded that would go on trying. `variable` names where the owner wrote the URL.
 */
export async function checkRedis(
  name: string,
  url: string,
  { variable, signal }: { variable: string; signal: AbortSignal },
): Promise<Check> {
  const shown = withoutPassword(url);
  const fail = (detail: string, todo: string): Check => ({ name, state: 'fail', detail: `${shown}: ${redact(detail)}`, todo });
  if (!URL.canParse(url) || !/^rediss?:$/.test(new URL(url).protocol)) return fail('is no redis:// URL', `Correct ${variable}.`);
  const startedAt = performance.now();
  try {
    const answer = await ping(new URL(url), signal);
    if (answer.startsWith('+PONG'))
      return { name, state: 'ok', detail: `${shown} answers in ${Math.round(performance.now() - startedAt)} ms` };
    const isLogin = /NOAUTH|WRONGPASS|invalid password/i.test(answer);
    return fail(
      answer.slice(1, MAX_ANSWER_CHARS).trim(),
      isLogin ? `Give ${variable} the right password.` : 'Look into the log of this Redis.',
    );
  } catch (thrown) {
    const why = signal.aborted ? 'no answer in time' : thrown instanceof Error ? thrown.message : String(thrown);
    return fail(why, `Start this Redis, or correct ${variable}.`);
  }
}

/** The first answer that is an error, else the last. */
async function ping(url: URL, signal: AbortSignal): Promise<string> {
  const [username, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  conceal(password);
  const login = password === '' ? [] : [username === '' ? ['AUTH', password] : ['AUTH', username, password]];
  const commands = [...login, ['PING']];
  const socket = open(url);
  const end = () => socket.destroy(new Error('no answer in time'));
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
      if (refusal !== undefined) return refusal;
      if (lines.length >= commands.length) return lines[commands.length - 1] ?? '';
      if (text.length > 10_000) break;
    }
    throw new Error('it does not speak as a Redis does');
  } finally {
    signal.removeEventListener('abort', end);
    socket.destroy();
  }
}

function open(url: URL): Socket {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port === '' ? DEFAULT_PORT : Number(url.port);
  return url.protocol === 'rediss:' ? connectTls({ host, port, servername: host }) : connectPlain({ host, port });
}
