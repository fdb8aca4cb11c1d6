import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { PeerworkError } from '../../errors.js';
import { conceal } from '../../log.js';

/** The scopes of the API: what each may do is in docs/http-api.md. */
export const scopes = ['read', 'lease', 'work', 'admin'] as const;
export type Scope = (typeof scopes)[number];
/** What a route requires: one scope, any scope, or nothing. */
export type Demand = Scope | 'any' | 'none';

export interface GateOptions {
  /** Entries `scope:token`; a token that is listed several times has all those scopes. */
  readonly tokens?: readonly string[];
  /** Origins of other web pages that may use the API (CORS). */
  readonly origins?: readonly string[];
  /** In a host app with its own authentication: returns the scopes of a request; none refuses it. Replaces `tokens`. */
  readonly authorize?: (request: IncomingMessage) => readonly Scope[] | Promise<readonly Scope[]>;
  /** With `authorize`: returns the worker that sends the request. Default: one worker per bearer token. */
  readonly identify?: (request: IncomingMessage) => string | undefined;
}

interface KnownToken {
  readonly hash: Buffer;
  readonly granted: Set<Scope>;
}

const hashOf = (token: string) => createHash('sha256').update(token).digest();

/**
 * Access control of the API. If there are tokens, each request must carry one. Without tokens, only this machine has access: the
 * peer address and the requested host name must be loopback, and a page that sends the request must come from here or from an
 * origin that the owner has listed, so that pages of other sites cannot reach the API (DNS rebinding).
 */
export class Gate {
  readonly #known: KnownToken[] = [];
  readonly #authorize: GateOptions['authorize'];
  readonly #identify: GateOptions['identify'];
  readonly #secret: string;
  readonly #origins: readonly string[];

  /**
   * Throws `option-invalid` for an entry that is not `scope:token`. `secret` keys the identities of workers: it is the same on all
   * Masters of a ledger.
   */
  constructor({ tokens = [], authorize, identify, origins = [] }: GateOptions, secret = '') {
    this.#origins = origins;
    this.#authorize = authorize;
    this.#identify = identify;
    this.#secret = secret;
    for (const entry of tokens) this.#addToken(entry);
  }

  /** Returns the token or address behind a request, which the rate limit counts by. */
  keyOf(request: IncomingMessage): string {
    return this.#match(request)?.hash.toString('base64') ?? request.socket.remoteAddress ?? '';
  }

  /**
   * Returns whose worker sends the request, as 16 characters that reveal nothing about the token: another token means another
   * worker, whatever name it uses. Undefined if no token is required and none was sent; workers then differ by name only.
   */
  holderOf(request: IncomingMessage): string | undefined {
    const identity = this.#identify?.(request) ?? presentedToken(request);
    if (identity === undefined || (this.#authorize === undefined && this.#known.length === 0)) return undefined;
    return createHmac('sha256', this.#secret).update(identity).digest('base64url').slice(0, 16);
  }

  /** Throws `http-unauthorized` or `http-forbidden`. */
  async scopesOf(request: IncomingMessage): Promise<ReadonlySet<Scope>> {
    if (this.#authorize !== undefined) {
      const granted = await this.#authorize(request);
      if (granted.length === 0) throw new PeerworkError('http-unauthorized');
      return withAdmin(new Set(granted));
    }
    if (this.#known.length > 0) {
      const known = this.#match(request);
      if (known === undefined) throw new PeerworkError('http-unauthorized');
      return withAdmin(known.granted);
    }
    refuseStrangers(request, this.#origins);
    return new Set(scopes);
  }

  #addToken(entry: string): void {
    const [, name, token = ''] = /^(read|lease|work|admin):(.+)$/.exec(entry) ?? [];
    const scope = scopes.find((one) => one === name);
    if (scope === undefined || token.length < 8)
      throw new PeerworkError('option-invalid', 'a token of the API is read:…, lease:…, work:… or admin:… with 8 characters or more');
    conceal(token);
    const hash = hashOf(token);
    const same = this.#known.find((known) => known.hash.equals(hash));
    if (same === undefined) this.#known.push({ hash, granted: new Set([scope]) });
    else same.granted.add(scope);
  }

  #match(request: IncomingMessage): KnownToken | undefined {
    const token = presentedToken(request);
    if (token === undefined) return undefined;
    const hash = hashOf(token);
    // Compares all of them, so that the timing reveals nothing about near matches.
    return this.#known.filter((known) => timingSafeEqual(known.hash, hash))[0];
  }
}

/** Throws `http-forbidden` if the granted scopes do not satisfy the demand. */
export function require(granted: ReadonlySet<Scope>, demand: Demand): void {
  if (demand === 'none' || (demand === 'any' && granted.size > 0)) return;
  if (demand === 'lease' && granted.has('work')) return;
  if (demand === 'any' || !granted.has(demand)) throw new PeerworkError('http-forbidden', `it needs the scope ${demand}`);
}

function withAdmin(granted: ReadonlySet<Scope>): ReadonlySet<Scope> {
  return granted.has('admin') ? new Set(scopes) : granted;
}

/** EventSource cannot set headers, so a GET may carry its token in the URL. */
function presentedToken(request: IncomingMessage): string | undefined {
  const [, bearer] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
  if (bearer !== undefined || request.method !== 'GET') return bearer;
  return new URLSearchParams((request.url ?? '').split('?')[1]).get('access_token') ?? undefined;
}

function refuseStrangers(request: IncomingMessage, origins: readonly string[]): void {
  const { host = '', origin, forwarded, 'x-forwarded-for': forwardedFor } = request.headers;
  if (!isLoopbackAddress(request.socket.remoteAddress ?? '') || forwarded !== undefined || forwardedFor !== undefined)
    throw new PeerworkError('http-forbidden', 'without tokens only the Master’s own machine is served');
  if (!isLoopbackName(host)) throw new PeerworkError('http-forbidden', 'the Host header does not name this machine');
  if (origin !== undefined && origin.replace(/^https?:\/\//, '') !== host && !origins.includes(origin))
    throw new PeerworkError('http-forbidden', 'the request comes from a page of another site');
}

function isLoopbackAddress(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}

function isLoopbackName(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host);
}
