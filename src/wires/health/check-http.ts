import type { Check } from '../../job/health.js';
import { basicLogin, fetchFault } from '../../kit/fetch.js';
import { redact, withoutPassword } from '../../log.js';

export interface HttpCheckOptions {
  /** Name of the variable in which the owner configured the URL. */
  readonly variable: string;
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  /** Hint for 401 and 403. */
  readonly login?: string;
}

/**
 * Sends a GET to an HTTP server. A status below 400 is `ok`; 401, 403 and 5xx fail; other client errors such as 404 are only a warning,
 * because they prove that a server is listening.
 */
export async function checkHttp(name: string, url: string, { variable, signal, headers = {}, login }: HttpCheckOptions): Promise<Check> {
  const shown = withoutPassword(url);
  const startedAt = performance.now();
  try {
    const { href, login: basic } = splitLogin(url);
    const response = await fetch(href, { headers: { ...basic, ...headers }, signal, redirect: 'manual' });
    await response.body?.cancel();
    const summary = `${shown} responded ${response.status} in ${Math.round(performance.now() - startedAt)} ms`;
    if (response.status < 400) return { name, state: 'ok', detail: summary };
    if (response.status === 401 || response.status === 403)
      return { name, state: 'fail', detail: summary, hint: login ?? `Give this Worker a key that ${variable} takes.` };
    const state = response.status >= 500 ? 'fail' : 'warn';
    return { name, state, detail: summary, hint: state === 'fail' ? 'Look into the log of this server.' : `Check ${variable}.` };
  } catch (thrown) {
    const why = signal.aborted ? 'no response in time' : fetchFault(thrown);
    return { name, state: 'fail', detail: `${shown}: ${redact(why)}`, hint: `Start the server, or fix ${variable}.` };
  }
}

/** Splits user and password off a URL: fetch rejects a URL that contains them, and would show them in its error. */
function splitLogin(url: string): { readonly href: string; readonly login: Readonly<Record<string, string>> } {
  const parsed = new URL(url);
  const authorization = basicLogin(parsed);
  parsed.username = '';
  parsed.password = '';
  return { href: parsed.href, login: authorization === undefined ? {} : { authorization } };
}
