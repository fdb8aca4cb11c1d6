/** STUN and TURN servers: how they are written, validated and passed to a connection. */
import { PeerworkError } from '../../errors.js';

export interface IceServer {
  readonly kind: 'stun' | 'turn';
  readonly transport: 'udp' | 'tcp' | 'tls';
  /** Name or address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly credential?: string;
}

/** An ICE server as W3C defines it; `urls` as there, or with `user:password@` inside. */
export interface IceServerInit {
  readonly urls: string | readonly string[];
  readonly username?: string;
  readonly credential?: string;
}

/** Called once per connection, so that an unreachable server costs at most one attempt. */
export interface IceAccess {
  /** `peerRelays`: the other side brings a relay of its own, so a second one is needed only where UDP is blocked. */
  servers(options?: { readonly peerRelays?: boolean }): Promise<RTCIceServer[]>;
  close(): void;
}

/** Two operators, so that an outage of one leaves everybody a second. */
export const defaultIceServers: readonly string[] = ['stun:stun.l.google.com:19302', 'stun:stun.cloudflare.com:3478'];

/**
 * Parses `stun:host:port`, `turn:user:password@host:port?transport=udp|tcp`, `turns:user:password@host:port` and the W3C objects.
 * Percent-encoding in user and password is decoded. Ports default to 3478, for `turns` to 5349.
 */
export function parseIceServers(given: readonly (string | IceServerInit)[]): IceServer[] {
  const servers: IceServer[] = [];
  for (const entry of given) {
    if (typeof entry === 'string') {
      servers.push(parseIceUrl(entry));
      continue;
    }
    if (typeof entry !== 'object' || entry === null) throw invalid(String(entry), 'neither a URL nor an object with `urls`');
    for (const url of typeof entry.urls === 'string' ? [entry.urls] : (entry.urls ?? [])) servers.push(parseIceUrl(url, entry));
  }
  return servers;
}

/** Parses each entry by itself: an invalid one in a token must not disable the others. */
export function readIceServers(given: readonly (string | IceServerInit)[]): {
  readonly servers: readonly IceServer[];
  /** `ice-server-unusable`, one for each entry that was left out. */
  readonly refused: readonly PeerworkError[];
} {
  const servers: IceServer[] = [];
  const refused: PeerworkError[] = [];
  for (const entry of given) {
    try {
      servers.push(...parseIceServers([entry]));
    } catch (thrown) {
      refused.push(new PeerworkError('ice-server-unusable', thrown instanceof PeerworkError ? thrown.detail : 'it cannot be read'));
    }
  }
  return { servers, refused };
}

/** Returns the URL of one server without its credentials, as browsers expect it and as logs may show it. */
export function formatIceUrl(server: IceServer): string {
  const host = server.host.includes(':') ? `[${server.host}]` : server.host;
  if (server.kind === 'stun') return `stun:${host}:${server.port}`;
  if (server.transport === 'tls') return `turns:${host}:${server.port}?transport=tcp`;
  return `turn:${host}:${server.port}?transport=${server.transport}`;
}

export function toRtcIceServer(server: IceServer): RTCIceServer {
  const urls = formatIceUrl(server);
  if (server.kind === 'stun') return { urls };
  return { urls, username: server.username ?? '', credential: server.credential ?? '' };
}

/** For an engine that speaks every transport by itself (a browser, `@roamhq/wrtc`). */
export function plainIce(servers: readonly IceServer[]): IceAccess {
  const all = servers.map(toRtcIceServer);
  return { servers: () => Promise.resolve(all), close: () => {} };
}

function parseIceUrl(url: string, outer: { readonly username?: string; readonly credential?: string } = {}): IceServer {
  const match = /^(stun|turn|turns):(?:\/\/)?(?:([^@]*)@)?(\[[0-9a-f:.]+\]|[^:?@/\s]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/i.exec(url);
  const [, scheme = '', login, host, portText, transportText] = match ?? [];
  if (host === undefined) throw invalid(url, 'expected stun:host:port, turn:user:password@host:port or turns:user:password@host:port');
  const secure = scheme.toLowerCase() === 'turns';
  const kind = scheme.toLowerCase() === 'stun' ? 'stun' : 'turn';
  const port = portText === undefined ? (secure ? 5349 : 3478) : Number(portText);
  if (port < 1 || port > 65535) throw invalid(url, 'the port is not between 1 and 65535');
  if (secure && transportText?.toLowerCase() === 'udp') throw invalid(url, 'turns goes over TCP only');
  const transport = secure ? 'tls' : kind === 'turn' && transportText?.toLowerCase() === 'tcp' ? 'tcp' : 'udp';
  if (host.startsWith('[') && !URL.canParse(`http://${host}`)) throw invalid(url, 'the brackets contain no IPv6 address');
  const plain = { transport, host: host.replace(/^\[|\]$/g, ''), port } as const;
  if (kind === 'stun') return { kind, ...plain };
  const colon = login?.indexOf(':') ?? -1;
  const username = login === undefined ? outer.username : decode(url, colon < 0 ? login : login.slice(0, colon));
  const credential = login === undefined || colon < 0 ? outer.credential : decode(url, login.slice(colon + 1));
  if (!username || !credential) throw invalid(url, 'a TURN server needs a user and a password');
  return { kind, ...plain, username, credential };
}

function decode(url: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(url, 'a percent sign in user or password has to be written %25');
  }
}

/** The message shows the URL without its password. */
function invalid(url: string, reason: string): PeerworkError {
  return new PeerworkError('option-invalid', `ICE server ${url.replace(/^([a-z]+:).*@/i, '$1…@')}: ${reason}`);
}
