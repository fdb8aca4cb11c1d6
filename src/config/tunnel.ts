import { option } from './option.js';
import { every } from './values.js';

/** Options for what a Master's jobs may reach through the link. */
export const tunnelOptions = {
  tunnels: option<readonly string[], undefined>({
    flag: '--tunnel <name=address>',
    env: 'PEERWORK_TUNNELS',
    commands: ['master'],
    meaning: 'Address that jobs may reach through the link, such as `redis=127.0.0.1:6379`, if their task.json declares it.',
    allowed: 'name=host:port, with a name of lower-case letters, digits and hyphens',
    default: undefined,
    defaultText: 'none',
    many: true,
    // An owner may have put a password into it.
    secret: true,
    parse: every((text) => tunnelAddress(text) !== undefined),
  }),
} as const;

/** The name of a tunnel, in task.json and in the Master's options. */
export const TUNNEL_NAME = /^[a-z][a-z\d-]{0,39}$/;

export interface TunnelAddress {
  readonly host: string;
  readonly port: number;
}

/** Parses `name=host:port`, with IPv6 addresses in brackets; undefined if invalid. */
export function tunnelAddress(text: string): { readonly name: string; readonly address: string } | undefined {
  const at = text.indexOf('=');
  const [name, address] = [text.slice(0, at), text.slice(at + 1)];
  return at > 0 && TUNNEL_NAME.test(name) && hostAndPort(address) !== undefined ? { name, address } : undefined;
}

/** Parses `host:port`, with IPv6 addresses in brackets; undefined if invalid. */
export function hostAndPort(text: string): TunnelAddress | undefined {
  const [, v6, name, digits = ''] = /^(?:\[([\da-f:.]{2,45})\]|([a-z\d](?:[a-z\d_.-]{0,252}[a-z\d])?)):(\d{1,5})$/i.exec(text) ?? [];
  const [host, port] = [v6 ?? name, Number(digits)];
  return host !== undefined && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}
