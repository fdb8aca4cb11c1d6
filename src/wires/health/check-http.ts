import type { Check } from '../../job/health.js';
import { redact, withoutPassword } from '../../log.js';

export interface HttpQuestion {
  /** Names where the owner wrote the URL. */
  readonly variable: string;
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  /** What to do about 401 and 403. */
  readonly login?: string;
}

/** Asks an HTTP server with GET: any answer below 400 is well, and 404 says at least that somebody is there. */
export async function checkHttp(name: string, url: string, { variable, signal, headers = {}, login }: HttpQuestion): Promise<Check> {
  const shown = withoutPassword(url);
  const startedAt = performance.now();
  try {
    const { href, login: basic } = apart(url);
    const response = await fetch(href, { headers: { ...basic, ...headers }, signal, redirect: 'manual' });
    await response.body?.cancel();
    const answer = `${shown} responded ${response.status} in ${Math.round(performance.now() - startedAt)} ms`;
    if (response.status < 400) return { name, state: 'ok', detail: answer };
    if (response.status === 401 || response.status === 403)
      return { name, state: 'fail', detail: answer, hint: login ?? `Give this Worker a key that ${variable} takes.` };
    const state = response.status >= 500 ? 'fail' : 'warn';
    return { name, state, detail: answer, hint: state === 'fail' ? 'Look into the log of this server.' : `Check ${variable}.` };
  } catch (thrown) {
    const why = signal.aborted ? 'no response in time' : reason(thrown);
    return { name, state: 'fail', detail: `${shown}: ${redact(why)}`, hint: `Start the server, or fix ${variable}.` };
  }
}

/** fetch takes no URL with a user and password in it, and would show them in its refusal. */
function apart(url: string): { readonly href: string; readonly login: Readonly<Record<string, string>> } {
  const parsed = new URL(url);
  const { username, password } = parsed;
  parsed.username = '';
  parsed.password = '';
  if (username === '' && password === '') return { href: parsed.href, login: {} };
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { href: parsed.href, login: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } };
}

/** fetch says only that it failed; its cause says why. */
function reason(thrown: unknown): string {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  return cause instanceof Error ? cause.message || ('code' in cause ? String(cause.code) : cause.name) : String(cause);
}
