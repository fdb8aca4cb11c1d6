/**
 * Preloaded by `--require` before any other code in a sandbox whose network namespace is empty: routes TCP connections of ordinary Node
 * code (fetch, http, tls, ws, database clients) through the EgressProxy, whose unix socket is bound into the sandbox. A convenience, not
 * a wall: code that bypasses it reaches nothing.
 *
 * A connection is opened as `CONNECT host:port` on the proxy's socket. Once granted, its handle replaces the one that the caller's socket
 * would have had, by the method with which Node itself falls back from IPv6 to IPv4 (`kReinitializeHandle`, Node 20 to 24), so that TLS
 * keeps its SNI and host name check. Names are passed on unresolved: only the proxy judges what they resolve to.
 *
 * Plain CommonJS in a single file, because it is placed into sandboxes by itself.
 */
import type { LookupAddress, LookupOptions } from 'node:dns';
import type { Socket as NetSocket, SocketConnectOpts } from 'node:net';

const net = require('node:net') as typeof import('node:net');
const dns = require('node:dns') as typeof import('node:dns');
const { syncBuiltinESMExports } = require('node:module') as typeof import('node:module');
const { domainToASCII } = require('node:url') as typeof import('node:url');

const PROXY = process.env['PEERWORK_PROXY_SOCKET'] ?? '/run/peerwork/proxy.sock';
const MAX_HEAD_BYTES = 4_096;
const NOTHING = Buffer.alloc(0);

type Callback = (...args: unknown[]) => void;

interface Handle {
  reading: boolean;
  readStop(): void;
  close(): void;
}

/** Undocumented members of Node's own sockets. */
interface Socket extends NetSocket {
  connecting: boolean;
  encrypted?: boolean;
  _handle: Handle | null;
  _host?: string;
  _parent?: { readonly connecting?: boolean } | null;
  _peername: { address: string; family: string; port: number } | null;
  _sockname: unknown;
  _undestroy(): void;
  _unrefTimer(): void;
}

interface Target {
  readonly host: string;
  readonly port: number;
}

type Normalized = readonly [options: SocketConnectOpts & Partial<Target>, callback: Callback | null];
const normalizeArgs = (net as unknown as { _normalizeArgs(args: readonly unknown[]): Normalized })._normalizeArgs;
const prototype = net.Socket.prototype as unknown as Record<PropertyKey, unknown>;
const direct = prototype['connect'] as (this: Socket, normalized: unknown) => Socket;
const takeHandle = Object.getOwnPropertySymbols(prototype).find(({ description }) => description === 'kReinitializeHandle');

prototype['connect'] = function connect(this: Socket, ...args: unknown[]): Socket {
  const [first] = args;
  const normalized = Array.isArray(first) ? (first as unknown as Normalized) : normalizeArgs(args);
  const [options, callback] = normalized;
  const target = targetOf(options);
  // A unix socket, invalid arguments that Node itself reports, or a socket wrapped around one that is already connecting.
  if (target === undefined || this._parent?.connecting === true) return direct.call(this, normalized);
  // The sandbox has its own loopback, on which the task may run servers.
  if (isLoopback(target.host)) return connectWithin(this, target, normalized);
  if (callback !== null) this.once('connect', callback);
  connectThrough(this, target);
  return this;
};

function targetOf({ host = 'localhost', port, path }: Normalized[0] & { readonly path?: unknown }): Target | undefined {
  const number = Number(port);
  const known = (typeof port === 'number' || typeof port === 'string') && Number.isInteger(number) && number >= 0 && number <= 65_535;
  if ((path !== undefined && path !== null) || !known || (host !== null && typeof host !== 'string')) return undefined;
  return { host: nameOf(host || 'localhost'), port: number };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (net.isIPv4(host) && host.startsWith('127.'));
}

/** Tries the sandbox's own loopback; if nothing listens there, the proxy decides whether this machine's is open to the task. */
function connectWithin(socket: Socket, target: Target, [options, callback]: Normalized): Socket {
  const host = target.host === 'localhost' ? '127.0.0.1' : target.host;
  const forget = () => {
    Reflect.deleteProperty(socket, 'destroy');
  };
  socket.once('connect', forget);
  socket.destroy = (error?: Error) => {
    forget();
    socket.off('connect', forget);
    if ((error as NodeJS.ErrnoException | undefined)?.code !== 'ECONNREFUSED') return socket.destroy(error);
    // A TLS socket closes its handle itself when it gets another.
    if (socket.encrypted !== true) {
      socket._handle?.close();
      socket._handle = null;
    }
    connectThrough(socket, target);
    return socket;
  };
  return direct.call(socket, normalizeArgs(callback === null ? [{ ...options, host }] : [{ ...options, host }, callback]));
}

function connectThrough(socket: Socket, target: Target): void {
  if (socket.destroyed) {
    // Node allows a socket that has ended to connect again.
    socket._handle = null;
    socket._peername = null;
    socket._sockname = null;
    socket._undestroy();
  }
  socket._unrefTimer();
  socket.connecting = true;
  if (net.isIP(target.host) === 0) socket._host = target.host;
  const proxied = new net.Socket() as Socket;
  const abandon = () => proxied.destroy();
  socket.once('close', abandon);
  const fail = (error: Error) => {
    proxied.destroy();
    if (socket.connecting) socket.destroy(error);
  };
  const head: Buffer[] = [];
  proxied.on('data', (chunk: Buffer) => {
    head.push(chunk);
    const bytes = Buffer.concat(head);
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0 && bytes.length <= MAX_HEAD_BYTES) return;
    const answer = bytes.toString('latin1', 0, Math.max(end, 0));
    if (!/^HTTP\/1\.1 200 /.test(answer)) return fail(errorOf(answer, target));
    socket.off('close', abandon);
    succeed(socket, proxied, target, bytes.subarray(end + 4));
  });
  proxied.on('error', () => fail(failure('ECONNREFUSED', target, 'the proxy of the sandbox cannot be reached')));
  proxied.on('end', () => fail(failure('ECONNRESET', target, 'the proxy of the sandbox closed the connection')));
  direct.call(proxied, normalizeArgs([{ path: PROXY }]));
  const authority = net.isIPv6(target.host) ? `[${target.host}]` : target.host;
  if (/^[\x21-\x7e]{1,260}$/.test(authority))
    proxied.write(`CONNECT ${authority}:${target.port} HTTP/1.1\r\nhost: ${authority}:${target.port}\r\n\r\n`);
  else process.nextTick(fail, failure('ENOTFOUND', target));
}

/** Hands the stream that follows the proxy's reply over to the caller's socket. */
function succeed(socket: Socket, proxied: Socket, { host, port }: Target, rest: Buffer): void {
  const handle = proxied._handle;
  proxied._handle = null;
  proxied.removeAllListeners();
  if (handle === null) return;
  handle.readStop();
  handle.reading = false;
  const buffered: Buffer | null = proxied.read();
  if (!socket.connecting || takeHandle === undefined) {
    handle.close();
    if (socket.connecting) socket.destroy(new Error(`this version of Node (${process.version}) has no network in this sandbox`));
    return;
  }
  // Otherwise it would forget that the caller has already ended the socket.
  socket._undestroy = () => {};
  (socket as unknown as Record<symbol, (handle: Handle) => void>)[takeHandle]?.(handle);
  Reflect.deleteProperty(socket, '_undestroy');
  socket.connecting = false;
  const address = net.isIP(host) === 0 ? standInOf(host) : host;
  socket._peername = { address, family: net.isIPv6(address) ? 'IPv6' : 'IPv4', port };
  socket._unrefTimer();
  confirmEndOf(socket, proxied, handle, { host, port });
  socket.emit('connect');
  socket.emit('ready');
  if (socket.destroyed) return;
  for (const bytes of [rest, buffered]) if (bytes !== null && bytes.length > 0) feed(socket, bytes);
  if (!socket.isPaused()) socket.read(0);
}

/**
 * Distinguishes an orderly end from a broken stream. A unix socket has no reset: if the stream behind the proxy broke, the socket is
 * closed, and a write, even an empty one, fails with EPIPE; an orderly end is a half-close. Only the latter may appear as an end. `proxied`
 * has given its handle away and borrows it for this probe, below TLS.
 */
function confirmEndOf(socket: Socket, proxied: Socket, handle: Handle, target: Target): void {
  const push = socket.push.bind(socket);
  socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk !== null || socket.writableEnded) return push(chunk, encoding);
    Reflect.deleteProperty(socket, 'push');
    proxied.on('error', () => socket.destroy(failure('ECONNRESET', target)));
    proxied._handle = handle;
    proxied.write(NOTHING, (error) => {
      if (error || socket.destroyed) return;
      push(null);
      socket.read(0);
    });
    proxied._handle = null;
    return false;
  };
}

/** Delivers bytes that arrived together with the proxy's reply, as in protocols where the server speaks first. */
function feed(socket: Socket, bytes: Buffer): void {
  const own = (name: string) => {
    const key = Object.getOwnPropertySymbols(socket).find(({ description }) => description === name);
    return key === undefined ? undefined : (socket as unknown as Record<symbol, unknown>)[key];
  };
  const [buffer, take] = [own('kBuffer'), own('kBufferCb')];
  // The option `onread`: the caller's own buffer is filled repeatedly.
  if (buffer instanceof Uint8Array && typeof take === 'function') {
    for (let at = 0; at < bytes.length; at += buffer.length) {
      const part = bytes.subarray(at, at + buffer.length);
      buffer.set(part);
      take(part.length, buffer);
    }
  } else socket.push(bytes);
}

function errorOf(answer: string, target: Target): Error {
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, 'im').exec(answer)?.[1]?.trim();
  const refused = header('x-peerwork-refused');
  if (refused !== undefined) return failure('network-denied', target, refused);
  if (/^HTTP\/1\.1 503/.test(answer)) return failure('EMFILE', target, 'too many connections at a time');
  return failure(/^E[A-Z\d_]{2,30}$/.exec(header('x-peerwork-error') ?? '')?.[0] ?? 'ECONNREFUSED', target);
}

/** Formatted like Node's own errors, so that clients treat it as one. */
function failure(code: string, { host, port }: Target, why = ''): Error {
  const lost = code === 'ENOTFOUND' || code === 'EAI_AGAIN';
  const what =
    code === 'network-denied' ? `${code}: ${host}:${port}` : lost ? `getaddrinfo ${code} ${host}` : `connect ${code} ${host}:${port}`;
  const error = new Error(why === '' ? what : `${what}: ${why}`);
  return Object.assign(
    error,
    lost ? { code, syscall: 'getaddrinfo', hostname: host } : { code, syscall: 'connect', address: host, host, port },
  );
}

/*
 * Names cannot be resolved in the sandbox. Clients that resolve before they connect get a stand-in address of 198.18.0.0/15, which maps
 * back to the name when they connect to it; only then it turns out whether the name exists.
 */
const MAX_STAND_INS = 65_536;
const standIns = new Map<string, string>();
const namesOf = new Map<string, string>();
let lastStandIn = 0;

function standInOf(name: string): string {
  let address = standIns.get(name);
  if (address === undefined) {
    lastStandIn = (lastStandIn % MAX_STAND_INS) + 1;
    address = `198.${18 + (lastStandIn >> 16)}.${(lastStandIn >> 8) & 255}.${lastStandIn & 255}`;
    const forgotten = namesOf.get(address);
    if (forgotten !== undefined) standIns.delete(forgotten);
    standIns.set(name, address);
    namesOf.set(address, name);
  }
  return address;
}

/** Normalises to ASCII and lower case, and maps a stand-in back to its name. */
function nameOf(host: string): string {
  const known = namesOf.get(host);
  if (known !== undefined) return known;
  const plain = /[^\u0020-\u007e]/.test(host) ? domainToASCII(host) || host : host;
  return plain.toLowerCase();
}

/** Returns the addresses of a name, or an error code. */
function resolve(name: string, family: 0 | 4 | 6): LookupAddress[] | string {
  const plain = nameOf(name);
  if (plain === 'localhost') return [family === 6 ? { address: '::1', family: 6 } : { address: '127.0.0.1', family: 4 }];
  return family === 6 ? 'ENODATA' : [{ address: standInOf(plain), family: 4 }];
}

function familyOf(family: unknown): 0 | 4 | 6 {
  if (family === 6 || family === 'IPv6') return 6;
  return family === 4 || family === 'IPv4' ? 4 : 0;
}

function lookup(name: string, options: LookupOptions | number | undefined): LookupAddress | LookupAddress[] {
  const { family, all } = typeof options === 'number' ? { family: options, all: false } : (options ?? {});
  const found = resolve(name, familyOf(family));
  const code = found === 'ENODATA' ? 'ENOTFOUND' : found;
  if (typeof code === 'string')
    throw Object.assign(new Error(`getaddrinfo ${code} ${name}`), { code, syscall: 'getaddrinfo', hostname: name });
  const [one] = code;
  return all === true || one === undefined ? code : one;
}

function records(name: string, family: 4 | 6, options: unknown): unknown[] {
  const found = resolve(name, family);
  if (typeof found === 'string')
    throw Object.assign(new Error(`query${family === 6 ? 'Aaaa' : 'A'} ${found} ${name}`), {
      code: found,
      syscall: 'query',
      hostname: name,
    });
  const ttl = typeof options === 'object' && options !== null && 'ttl' in options && options.ttl === true;
  return found.map(({ address }) => (ttl ? { address, ttl: 60 } : address));
}

type Method = (...args: unknown[]) => unknown;

/** Replaces a method by `stub` for the calls that it handles; other calls go to Node's own. */
function replace(owner: object, name: string, promised: boolean, stub: (args: readonly unknown[]) => (() => unknown) | undefined): void {
  const methods = owner as Record<string, Method | undefined>;
  const own = methods[name];
  if (own === undefined) return;
  const replacement = function (this: unknown, ...args: unknown[]): unknown {
    const callback = promised ? undefined : args.at(-1);
    const compute = (promised || typeof callback === 'function') && typeof args[0] === 'string' ? stub(args) : undefined;
    if (compute === undefined) return own.apply(this, args);
    const result = new Promise((resolve) => resolve(compute()));
    if (promised) return result;
    const done = callback as Callback;
    const callBack = (...values: unknown[]) => process.nextTick(done, ...values);
    result.then(
      (value) => (name === 'lookup' && !Array.isArray(value) ? callBack(null, ...Object.values(value as object)) : callBack(null, value)),
      callBack,
    );
    return {};
  };
  // Keeps its name, and what promisify() needs.
  methods[name] = Object.defineProperties(replacement, Object.getOwnPropertyDescriptors(own)) as Method;
}

for (const [owner, promised] of [[dns, false] as const, [dns.promises, true] as const]) {
  replace(owner, 'lookup', promised, ([name, options]) =>
    name === '' || net.isIP(name as string) !== 0 ? undefined : () => lookup(name as string, options as LookupOptions),
  );
  for (const each of [owner, owner.Resolver.prototype]) {
    replace(
      each,
      'resolve4',
      promised,
      ([name, options]) =>
        () =>
          records(name as string, 4, options),
    );
    replace(
      each,
      'resolve6',
      promised,
      ([name, options]) =>
        () =>
          records(name as string, 6, options),
    );
    replace(each, 'resolve', promised, ([name, type]) => {
      if (type === 'AAAA') return () => records(name as string, 6, undefined);
      return type === undefined || type === 'A' || typeof type === 'function' ? () => records(name as string, 4, undefined) : undefined;
    });
  }
}
syncBuiltinESMExports();
