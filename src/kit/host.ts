/** A host as a socket takes it: IPv6 addresses stand in brackets in a URL, and nowhere else. */
export function bareHost(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

/** For TLS: a certificate is for a name, or for an address, which must not be sent as a name. */
export function serverName(host: string): { readonly servername?: string } {
  return /^[\d.:[\]]*$/.test(host) ? {} : { servername: host };
}
