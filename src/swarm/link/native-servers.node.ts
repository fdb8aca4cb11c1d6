import type { RtcConfig } from 'node-datachannel';

/** TURN over TCP or TLS is left out: the library cannot, the bridge in `openIce` hands it a UDP address instead. */
export function nativeServers(servers: readonly RTCIceServer[]): RtcConfig['iceServers'] {
  const found: RtcConfig['iceServers'] = [];
  for (const { urls, username, credential } of servers) {
    for (const url of typeof urls === 'string' ? [urls] : urls) {
      const match = /^(stun|turn):(\[[^\]]+\]|[^:]+):(\d+)(?:\?transport=(\w+))?$/.exec(url);
      const [, scheme, host = '', port, transport = 'udp'] = match ?? [];
      // In parts: as text the library reads no IPv6 address.
      if (scheme === 'stun') found.push({ hostname: host.replace(/^\[|\]$/g, ''), port: Number(port) });
      else if (scheme === 'turn' && transport === 'udp')
        found.push({
          hostname: host.replace(/^\[|\]$/g, ''),
          port: Number(port),
          username: username ?? '',
          password: credential ?? '',
          relayType: 'TurnUdp',
        });
    }
  }
  return found;
}
